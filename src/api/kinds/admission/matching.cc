#include "api/kinds/admission/matching.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::size_t match_conditions_max = 64;

void check_wildcard(causes& out, const json::value& list, const place& at, std::string_view what) {
  if (list.size() > 1 && holds(list, "*"))
    out.push_back(invalid_value(at, list, fmt::format("if '*' is present, must not specify other {}", what)));
}

// "pods", "pods/log", "pods/*", "*/scale", "*", "*/*": none may say what another says already.
void check_resources(causes& out, const json::value& list, const place& at) {
  if (list.empty()) out.push_back(required(at));
  std::set<std::string_view> whole_resources, whole_subresources;
  bool all = false, plain = false;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto text = list[i].as_string();
    if (text.empty()) {
      out.push_back(required(here));
      continue;
    }
    all = all || text == "*";
    auto slash = text.find('/');
    if (slash == text.npos) {
      plain = text != "*";  // of the last one alone, as the real server counts
      continue;
    }
    auto resource = text.substr(0, slash), sub = text.substr(slash + 1);
    if (whole_resources.contains(resource))
      out.push_back(
          invalid_value(here, text, fmt::format("if '{}/*' is present, must not specify {}", resource, text)));
    if (whole_subresources.contains(sub))
      out.push_back(invalid_value(here, text, fmt::format("if '*/{}' is present, must not specify {}", sub, text)));
    if (sub == "*") whole_resources.insert(resource);
    if (resource == "*") whole_subresources.insert(sub);
  }
  if (list.size() > 1 && holds(list, "*/*"))
    out.push_back(invalid_value(at, list, "if '*/*' is present, must not specify other resources"));
  if (all && plain)
    out.push_back(invalid_value(at, list, "if '*' is present, must not specify other resources without subresources"));
}

void check_named_rule(causes& out, const json::value& rule, const place& at) {
  auto& names = rule["resourceNames"];
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const place here(at, "resourceNames", i);
    auto name = names[i].as_string();
    add_problems(out, here, name, check_path_segment(name));
    if (!seen.insert(name).second) out.push_back(duplicate_value(here, name));
  }
  check_rule_with_operations(out, rule, at);
}

void check_needed_selector(causes& out, const json::value& parent, const place& at, std::string_view member) {
  const place here(at, member);
  if (!parent[member].is_object()) return out.push_back(required(here));
  check_label_selector(out, parent[member], here);
}

}  // namespace

bool is_blank(std::string_view text) noexcept {
  return std::ranges::all_of(text, [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); });
}

bool holds(const json::value& list, std::string_view text) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].as_string() == text) return true;
  return false;
}

void check_rule_with_operations(causes& out, const json::value& rule, const place& at) {
  static const std::vector<std::string> known{"*", "CONNECT", "CREATE", "DELETE", "UPDATE"};
  auto &operations = rule["operations"], &groups = rule["apiGroups"], &versions = rule["apiVersions"];
  const place of_operations(at, "operations"), of_versions(at, "apiVersions");
  need(out, rule, at, "operations");
  check_wildcard(out, operations, of_operations, "operations");
  for (std::size_t i = 0; i < operations.size(); ++i)
    if (std::ranges::find(known, operations[i].as_string()) == known.end())
      out.push_back(not_supported(place(of_operations, i), operations[i], known));
  need(out, rule, at, "apiGroups");
  check_wildcard(out, groups, place(at, "apiGroups"), "API groups");
  need(out, rule, at, "apiVersions");
  check_wildcard(out, versions, of_versions, "API versions");
  for (std::size_t i = 0; i < versions.size(); ++i)
    if (versions[i].as_string().empty()) out.push_back(required(place(of_versions, i)));
  check_resources(out, rule["resources"], place(at, "resources"));
  one_of(out, rule, at, "scope", {"*", "Cluster", "Namespaced"});
}

void check_match_resources(causes& out, const json::value& resources, const place& at) {
  if (!resources.is_object()) return;
  if (resources["matchPolicy"].is_null())
    out.push_back(required(place(at, "matchPolicy")));
  else
    one_of(out, resources, at, "matchPolicy", {"Equivalent", "Exact"});
  for (auto selector : {"namespaceSelector", "objectSelector"}) check_needed_selector(out, resources, at, selector);
  for (auto list : {"resourceRules", "excludeResourceRules"})
    for (std::size_t i = 0; i < resources[list].size(); ++i)
      check_named_rule(out, resources[list][i], place(at, list, i));
}

void check_mutating_operations(causes& out, const json::value& resources, const place& at) {
  static const std::vector<std::string> known{"*", "CONNECT", "CREATE", "UPDATE"};
  const place here(at, "resourceRules.operations");
  auto& rules = resources["resourceRules"];
  for (std::size_t i = 0; i < rules.size(); ++i)
    for (std::size_t j = 0; j < rules[i]["operations"].size(); ++j)
      if (auto& one = rules[i]["operations"][j]; std::ranges::find(known, one.as_string()) == known.end())
        out.push_back(not_supported(here, one, known));
}

void check_match_constraints(causes& out, const json::value& spec, const place& at) {
  auto& resources = spec["matchConstraints"];
  const place here(at, "matchConstraints");
  if (!resources.is_object()) return out.push_back(required(here));
  check_match_resources(out, resources, here);
  if (resources["resourceRules"].empty()) out.push_back(required(place(here, "resourceRules")));
}

void check_compiled(causes& out, const expressions::expression& e, std::string_view told, const place& at) {
  if (!e.program) out.push_back(invalid_value(at, told, e.wrong));
}

void check_match_conditions(causes& out, const json::value& list, const place& at, bool params) {
  std::set<std::string_view> seen;
  if (list.size() > match_conditions_max) out.push_back(too_many(at, list.size(), match_conditions_max));
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i), of_name(here, "name");
    auto name = list[i]["name"].as_string();
    const place of_expression(here, "expression");
    if (auto text = trim(list[i]["expression"].as_string()); text.empty())
      out.push_back(required(of_expression));
    else
      check_compiled(
          out,
          expressions::compile_expression(expressions::admission_environment({.params = params, .authorizer = true}),
                                          text, expressions::boolean_result()),
          text, of_expression);
    if (name.empty()) {
      out.push_back(required(of_name));
      continue;
    }
    add_problems(out, of_name, name, check_qualified_name(name));
    if (!seen.insert(name).second) out.push_back(duplicate_value(of_name, name));
  }
}

}  // namespace kedge::api
