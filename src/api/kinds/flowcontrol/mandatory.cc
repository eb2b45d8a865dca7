#include "api/kinds/flowcontrol/mandatory.h"

#include <map>
#include <set>
#include <string>

#include "json/parse.h"
#include "schema/bootstrap.h"

namespace kedge::api {
namespace {

using specs = std::map<std::string, json::value, std::less<>>;

specs read(std::string_view category) {
  specs out;
  auto list = json::parse(schema::bootstrap_json(category));
  for (std::size_t i = 0; list && i < list->size(); ++i)
    if (auto name = (*list)[i]["metadata"]["name"].as_string(); name == "exempt" || name == "catch-all")
      out.emplace(name, (*list)[i]["spec"]);
  return out;
}

}  // namespace

const json::value& mandatory_spec(std::string_view category, std::string_view name) {
  static const specs schemas = read("flowschemas"), levels = read("prioritylevelconfigurations");
  static const json::value none;
  auto& all = category == "flowschemas" ? schemas : levels;
  auto it = all.find(name);
  return it == all.end() ? none : it->second;
}

void check_condition_types(causes& out, const json::value& conditions, const place& at) {
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < conditions.size(); ++i) {
    const place here(at, i), of_type(here, "type");
    auto type = conditions[i]["type"].as_string();
    if (!seen.insert(type).second) out.push_back(duplicate_value(of_type, type));
    if (type.empty()) out.push_back(required(of_type));
  }
}

}  // namespace kedge::api
