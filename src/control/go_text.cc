#include "control/go_text.h"

#include <fmt/format.h>

#include <iterator>
#include <map>
#include <string_view>

namespace kedge::control {

std::string as_go_prints(const json::value& selector) {
  if (selector.is_null()) return "nil";
  std::string out = "&LabelSelector{MatchLabels:map[string]string{";
  std::map<std::string_view, std::string_view> labels;
  if (auto* pairs = selector["matchLabels"].object())
    for (auto& [name, value] : *pairs) labels.emplace(name, value.as_string());
  for (auto& [name, value] : labels) fmt::format_to(std::back_inserter(out), "{}: {},", name, value);
  out += "},MatchExpressions:[]LabelSelectorRequirement{";
  if (auto* terms = selector["matchExpressions"].array())
    for (auto& t : *terms) {
      std::string values;
      if (auto* list = t["values"].array())
        for (auto& v : *list) values.append(values.empty() ? "" : " ").append(v.as_string());
      fmt::format_to(std::back_inserter(out), "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                     t["key"].as_string(), t["operator"].as_string(), values);
    }
  return out + "},}";
}

}  // namespace kedge::control
