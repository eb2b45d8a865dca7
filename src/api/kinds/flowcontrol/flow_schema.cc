// flow_schema.cc: FlowSchema.
#include <fmt/format.h>

#include <algorithm>

#include "api/kinds/flowcontrol/mandatory.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::int64_t precedence_max = 10'000;

bool holds(const json::value& list, std::string_view text) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].as_string() == text) return true;
  return false;
}

void check_service_account(causes& out, const json::value& account, const place& at) {
  auto name = account["name"].as_string(), ns = account["namespace"].as_string();
  if (need(out, account, at, "name") && name != "*")
    add_problems(out, place(at, "name"), name, check_dns1123_subdomain(name));
  if (need(out, account, at, "namespace", "must specify namespace for service account"))
    add_problems(out, place(at, "namespace"), ns, check_dns1123_label(ns));
}

struct subject_kind {
  std::string_view kind, member;
};
constexpr subject_kind subject_kinds[] = {{"ServiceAccount", "serviceAccount"}, {"User", "user"}, {"Group", "group"}};

void check_subject(causes& out, const json::value& s, const place& at) {
  auto kind = s["kind"].as_string();
  auto known = std::ranges::find(subject_kinds, kind, &subject_kind::kind);
  if (known == std::end(subject_kinds))
    return out.push_back(not_supported(place(at, "kind"), kind, {"Group", "ServiceAccount", "User"}));
  const place here(at, known->member);
  if (!s[known->member].is_object())
    out.push_back(required(here, fmt::format("{} is required when subject kind is '{}'", known->member, kind)));
  else if (known->member == "serviceAccount")
    check_service_account(out, s[known->member], here);
  else
    need(out, s[known->member], here, "name");
  for (auto& other : subject_kinds)
    if (other.kind != kind && s[other.member].is_object())
      out.push_back(
          forbidden_value(place(at, other.member),
                          fmt::format("{} is forbidden when subject kind is not '{}'", other.member, other.kind)));
}

// A list that has something, and "*" alone.
bool check_wildcards(causes& out, const json::value& rule, const place& at, std::string_view member,
                     std::string_view needed, std::string_view what) {
  if (!need(out, rule, at, member, needed)) return false;
  if (!holds(rule[member], "*")) return true;
  if (rule[member].size() > 1)
    out.push_back(invalid_value(place(at, member), rule[member],
                                fmt::format("if '*' is present, must not specify other {}", what)));
  return false;
}

void check_verbs(causes& out, const json::value& rule, const place& at) {
  static const std::vector<std::string> known{"create", "delete", "deletecollection", "get",  "list",
                                              "patch",  "proxy",  "update",           "watch"};
  if (!check_wildcards(out, rule, at, "verbs", "verbs must contain at least one value", "verbs")) return;
  auto& verbs = rule["verbs"];
  for (std::size_t i = 0; i < verbs.size(); ++i)
    if (std::ranges::find(known, verbs[i].as_string()) == known.end())
      return out.push_back(not_supported(place(at, "verbs"), verbs, known));
}

void check_namespaces(causes& out, const json::value& rule, const place& at) {
  auto& list = rule["namespaces"];
  const place here(at, "namespaces");
  if (list.empty()) {
    if (!rule["clusterScope"].as_bool())
      out.push_back(required(here, "resource rules that are not cluster scoped must supply at least one namespace"));
  } else if (holds(list, "*")) {
    if (list.size() > 1)
      out.push_back(invalid_value(here, list, "if '*' is present, must not specify other namespaces"));
  } else {
    for (std::size_t i = 0; i < list.size(); ++i)
      for (auto& text : check_dns1123_label(list[i].as_string()))
        out.push_back(invalid_value(place(here, i), list[i],
                                    "each member of this list must be '*' or a DNS-1123 label; " + text));
  }
}

void check_resource_rule(causes& out, const json::value& rule, const place& at) {
  check_verbs(out, rule, at);
  check_wildcards(out, rule, at, "apiGroups", "resource rules must supply at least one api group", "api groups");
  check_wildcards(out, rule, at, "resources", "resource rules must supply at least one resource", "resources");
  check_namespaces(out, rule, at);
}

std::string_view wrong_path(std::string_view path) {
  if (path.empty()) return "must not be empty";
  if (path == "/") return {};
  if (!path.starts_with('/')) return "must start with slash";
  if (path.find(' ') != path.npos) return "must not contain white-space";
  if (path.find("//") != path.npos) return "must not contain double slash";
  auto stars = std::ranges::count(path, '*');
  return stars > 1 || (stars == 1 && !path.ends_with("/*")) ? "wildcard can only do suffix matching" : "";
}

void check_path_rule(causes& out, const json::value& rule, const place& at) {
  check_verbs(out, rule, at);
  auto& urls = rule["nonResourceURLs"];
  if (!check_wildcards(out, rule, at, "nonResourceURLs", "nonResourceURLs must contain at least one value",
                       "non-resource URLs"))
    return;
  for (std::size_t i = 0; i < urls.size(); ++i)
    if (auto wrong = wrong_path(urls[i].as_string()); !wrong.empty())
      out.push_back(invalid_value(place(at, "nonResourceURLs", i), urls[i], wrong));
}

void check_rule(causes& out, const json::value& rule, const place& at) {
  auto &subjects = rule["subjects"], &resources = rule["resourceRules"], &paths = rule["nonResourceRules"];
  need(out, rule, at, "subjects", "subjects must contain at least one value");
  for (std::size_t i = 0; i < subjects.size(); ++i) check_subject(out, subjects[i], place(at, "subjects", i));
  if (resources.empty() && paths.empty())
    out.push_back(required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"));
  for (std::size_t i = 0; i < resources.size(); ++i)
    check_resource_rule(out, resources[i], place(at, "resourceRules", i));
  for (std::size_t i = 0; i < paths.size(); ++i) check_path_rule(out, paths[i], place(at, "nonResourceRules", i));
}

void check_precedence(causes& out, std::int64_t n, std::string_view name, const place& at) {
  if (n <= 0) out.push_back(invalid_value(at, n, "must be a positive value"));
  if (n > precedence_max)
    out.push_back(invalid_value(at, n, fmt::format("must not be greater than {}", precedence_max)));
  if (n == 1 && name != "exempt")
    out.push_back(invalid_value(at, n, "only the schema named 'exempt' may have matchingPrecedence 1"));
}

void validate(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  auto name = o["metadata"]["name"].as_string();
  const place at("spec"), of_level(at, "priorityLevelConfiguration"), of_method(at, "distinguisherMethod");
  check_precedence(out, spec["matchingPrecedence"].as_integer(), name, place(at, "matchingPrecedence"));
  if (auto& method = spec["distinguisherMethod"]; method.is_object())
    if (auto type = method["type"].as_string(); type != "ByNamespace" && type != "ByUser")
      out.push_back(not_supported(place(of_method, "type"),
                                  internal_form("flowcontrol/v1.FlowDistinguisherMethod", method),
                                  {"ByNamespace", "ByUser"}));
  if (auto& level = spec["priorityLevelConfiguration"];
      need(out, level, of_level, "name", "must reference a priority level"))
    add_problems(out, place(of_level, "name"), level["name"], check_dns1123_subdomain(level["name"].as_string()));
  for (std::size_t i = 0; i < spec["rules"].size(); ++i) check_rule(out, spec["rules"][i], place(at, "rules", i));
  if (auto& fixed = mandatory_spec("flowschemas", name); fixed.is_object() && !(fixed == spec))
    out.push_back(invalid_value(at, internal_form("flowcontrol/v1.FlowSchemaSpec", spec),
                                fmt::format("spec of '{}' must equal the fixed value", name)));
  check_condition_types(out, o["status"]["conditions"], "status.conditions");
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  check_condition_types(out, o["status"]["conditions"], "status.conditions");
}

}  // namespace

const kind_rules kinds::flow_schemas{.group = "flowcontrol.apiserver.k8s.io",
                                     .resource = "flowschemas",
                                     .generation = true,
                                     .metadata_stands = true,
                                     .validate = validate,
                                     .validate_part = validate_part};

}  // namespace kedge::api
