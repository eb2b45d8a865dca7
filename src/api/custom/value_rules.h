// value_rules.h: the part of a schema that says which values are good: ranges, lengths, patterns, formats, enumerations
// and their combinations; and the check of one value by it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/custom/structural.h"
#include "meta/place.h"

namespace kedge::api::custom {

struct value_rules {
  json::value allowed;                          // enum; empty: everything
  std::unique_ptr<json::value_set> is_allowed;  // of these, if any
  std::string format, pattern;
  std::optional<double> minimum, maximum, multiple_of;
  bool exclusive_minimum = false, exclusive_maximum = false, unique_items = false;
  std::optional<std::int64_t> min_length, max_length, min_items, max_items, min_properties, max_properties;
  std::vector<node> all_of, any_of, one_of;
  std::unique_ptr<node> none_of;  // not
};

// What is wrong with `v` at `path` ("" for the object itself) by the node's own rules and its branches; children are
// the caller's. Worded as kube-openapi's validator.
void check_value(causes& out, const node& n, const json::value& v, const place& path);

// The node's type, nullability, rules, and everything below: what branches need, and the object itself.
void check_tree(causes& out, const node& n, const json::value& v, const json::value* before, const place& path,
                bool root);

// Whether `text` is of the format; true for formats that are not checked.
bool has_format(std::string_view format, std::string_view text);

// Whether the pattern is found in the text (unanchored); false with `error` set for a pattern that doesn't compile.
bool matches_pattern(const std::string& pattern, std::string_view text);
std::string pattern_error(const std::string& pattern);  // empty: it compiles

}  // namespace kedge::api::custom
