// json_path.h: the simple JSONPath of printer columns, selectable fields and scale paths: `.spec.ports[0].name`,
// `.status.conditions[?(@.type=="Ready")].status`, `.metadata.labels['app\.kubernetes\.io/name']`, `[*]`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"

namespace kedge::api::custom {

class json_path {
 public:
  // errc::invalid with what was expected and where.
  static result<json_path> parse(std::string_view text);

  // The first value that the path leads to; nullptr when there is none.
  const json::value* first(const json::value& root) const;
  // The member names of a path without brackets ("spec.replicas"); empty for any other.
  std::vector<std::string> members() const;

 private:
  struct step {
    enum class kind : unsigned char { member, index, every, filter } what = kind::member;
    std::string name;       // member; filter: the path below each item, dotted
    long index = 0;         // index: negative counts from the end
    std::string operation;  // filter: "==", "!=", "" (is there)
    json::value operand;
  };
  static const json::value* find(const json::value& v, const step* at, const step* end);
  std::vector<step> steps_;
};

}  // namespace kedge::api::custom
