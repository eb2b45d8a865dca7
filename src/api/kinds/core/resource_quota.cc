// resource_quota.cc: ResourceQuota.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/kinds/core/resources.h"
#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

constexpr std::string_view scopes[] = {
    "Terminating",           "NotTerminating",           "BestEffort", "NotBestEffort", "PriorityClass",
    "VolumeAttributesClass", "CrossNamespacePodAffinity"};

bool is_scope(std::string_view s) { return std::find(std::begin(scopes), std::end(scopes), s) != std::end(scopes); }

// Whether what a scope selects asks for the resource at all.
bool applies(std::string_view scope, std::string_view resource) {
  constexpr std::string_view of_pods[] = {"pods",          "cpu",          "memory",         "limits.cpu",
                                          "limits.memory", "requests.cpu", "requests.memory"};
  if (!is_scope(scope)) return true;
  if (scope == "BestEffort") return resource == "pods";
  if (scope == "VolumeAttributesClass") return resource == "persistentvolumeclaims" || resource == "requests.storage";
  return std::find(std::begin(of_pods), std::end(of_pods), resource) != std::end(of_pods);
}

void check_hard(causes& out, const json::value& hard, const place& at) {
  auto map = hard.object();
  if (!map) return;
  for (auto& m : *map) {
    const place here = place::of_key(at, m.name);
    check_quota_resource_name(out, m.name, here);
    check_amount(out, m.name, m.value, here);
  }
}

std::set<std::string_view> standard_names(const json::value& hard) {
  std::set<std::string_view> out;
  if (auto map = hard.object())
    for (auto& m : *map)
      if (is_quota_resource(m.name)) out.insert(m.name);
  return out;
}

void check_conflicts(causes& out, const std::set<std::string_view>& given, const json::value& shown, const place& at) {
  for (auto& [a, b] : {std::pair("BestEffort", "NotBestEffort"), std::pair("NotTerminating", "Terminating")})
    if (given.contains(a) && given.contains(b)) out.push_back(invalid_value(at, shown, "conflicting scopes"));
}

void check_scopes(causes& out, const json::value& spec, const place& at) {
  auto& list = spec["scopes"];
  const auto names = standard_names(spec["hard"]);
  std::set<std::string_view> given;
  bool unsupported = false, misapplied = false;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto scope = list[i].as_string();
    // Each is told once, however many scopes and resources it is: they have the same words, which quote the whole list.
    if (!unsupported && !is_scope(scope)) {
      unsupported = true;
      out.push_back(invalid_value(at, list, "unsupported scope"));
    }
    if (!misapplied && std::any_of(names.begin(), names.end(), [&](auto n) { return !applies(scope, n); })) {
      misapplied = true;
      out.push_back(invalid_value(at, list, "unsupported scope applied to resource"));
    }
    given.insert(scope);
  }
  check_conflicts(out, given, list, at);
}

json::value selector_form(const json::value& selector) { return internal_form("core/v1.ScopeSelector", selector); }

void check_selector(causes& out, const json::value& spec, const place& at) {
  auto& list = spec["scopeSelector"]["matchExpressions"];
  const auto names = standard_names(spec["hard"]);
  std::set<std::string_view> given;
  bool misapplied = false;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto scope = list[i]["scopeName"].as_string(), op = list[i]["operator"].as_string();
    auto& values = list[i]["values"];
    if (!is_scope(scope)) out.push_back(invalid_value(place(at, "scopeName"), scope, "unsupported scope"));
    // Told once, as above.
    if (!misapplied && std::any_of(names.begin(), names.end(), [&](auto n) { return !applies(scope, n); })) {
      misapplied = true;
      out.push_back(invalid_value(at, selector_form(spec["scopeSelector"]), "unsupported scope applied to resource"));
    }
    if (is_scope(scope) && scope != "PriorityClass" && scope != "VolumeAttributesClass" && op != "Exists")
      out.push_back(invalid_value(
          place(at, "operator"), op,
          "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
          "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
          "ResourceQuotaScopeCrossNamespacePodAffinity"));
    if (op == "In" || op == "NotIn") {
      if (values.empty())
        out.push_back(required(place(at, "values"),
                               "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"));
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (!values.empty())
        out.push_back(
            invalid_value(place(at, "values"), values,
                          "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"));
    } else {
      out.push_back(invalid_value(place(at, "operator"), op, "not a valid selector operator"));
    }
    given.insert(scope);
  }
  check_conflicts(out, given, spec["scopes"], at);
}

void check_spec(causes& out, const json::value& spec, const place& at) {
  check_hard(out, spec["hard"], place(at, "hard"));
  if (!spec["scopes"].empty()) check_scopes(out, spec, place(at, "scopes"));
  check_selector(out, spec, place(at, "scopeSelector.matchExpressions"));
}

void validate(causes& out, const json::value& o) { check_spec(out, o["spec"], "spec"); }

std::set<std::string_view> texts_of(const json::value& list) {
  std::set<std::string_view> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.insert(list[i].as_string());
  return out;
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check_spec(out, o["spec"], "spec");
  auto &now = o["spec"]["scopes"], &before = old["spec"]["scopes"];
  if (texts_of(now) != texts_of(before)) out.push_back(invalid_value("spec.scopes", now, "field is immutable"));
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  const place at("status");
  for (auto list : {"hard", "used"}) check_hard(out, o["status"][list], place(at, list));
}

void warn(warnings& out, const json::value& o, const json::value* old) {
  if (old) return;
  auto& hard = o["spec"]["hard"];
  for (std::string name : {"cpu", "memory", "storage", "ephemeral-storage"}) {
    auto request = "requests." + name, limit = "limits." + name;
    if (!hard.find(request) && (name == "cpu" || name == "memory")) request = name;
    auto asked = schema::quantity::parse(hard[request].as_string()),
         most = schema::quantity::parse(hard[limit].as_string());
    if (asked && most && *most < *asked)
      out.push_back(fmt::format("ResourceQuota {} ({}) should be less than {} ({})", request, asked->text(), limit,
                                most->text()));
  }
}

}  // namespace

const kind_rules kinds::resource_quotas{.group = "",
                                        .resource = "resourcequotas",
                                        .answers_deleted_object = true,
                                        .validate = validate,
                                        .validate_update = validate_update,
                                        .validate_part = validate_part,
                                        .warn = warn};

}  // namespace kedge::api
