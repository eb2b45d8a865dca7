// field_set.h: a set of an object's fields, as managedFields' FieldsV1 says who owns what.
//
// A path is a list of elements in FieldsV1's own spelling: "f:spec", `k:{"name":"c"}` (an associative list's item by
// its keys), `v:"x"` (a set's item), "i:0". A tree node stands for a path; `member` says that the path itself is in the
// set.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"

namespace kedge::schema::apply {

using field_path = std::vector<std::string>;

struct field_set {
  bool member = false;
  std::map<std::string, field_set, std::less<>> children;

  bool empty() const noexcept { return !member && children.empty(); }
  void insert(const field_path& path);
  bool has(const field_path& path) const noexcept;
  // As structured-merge-diff walks: the members of a level in order, then what is below them.
  void for_each(const std::function<void(const field_path&)>& see) const;
  friend bool operator==(const field_set&, const field_set&) = default;
};

field_set unite(field_set a, const field_set& b);
field_set intersect(const field_set& a, const field_set& b);
field_set subtract(field_set a, const field_set& b);

// {"f:spec":{"f:replicas":{}}}
json::value to_fields_v1(const field_set& set);
result<field_set> from_fields_v1(const json::value& fields);  // errc::invalid

// `.spec.containers[name="c"].image`, as conflicts name a field.
std::string path_text(const field_path& path);

}  // namespace kedge::schema::apply
