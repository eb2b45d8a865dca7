// webhook_configuration.cc: MutatingWebhookConfiguration and ValidatingWebhookConfiguration.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/kinds/admission/matching.h"
#include "api/kinds/admission/webhook_client.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::int64_t timeout_min = 1, timeout_max = 30;

// What an older object has wrong may stay, and others of its kind may come.
struct leniency {
  bool any_side_effects = false, any_review_versions = false, repeated_names = false, any_label_values = false,
       same_conditions = false;
};

bool has_no_side_effects(const json::value& hook) {
  auto effects = hook["sideEffects"].as_string();
  return effects == "None" || effects == "NoneOnDryRun";
}

bool has_known_version(const json::value& hook) {
  return holds(hook["admissionReviewVersions"], "v1") || holds(hook["admissionReviewVersions"], "v1beta1");
}

void check_name(causes& out, std::string_view name, const place& at) {
  if (name.empty()) return out.push_back(required(at));
  if (auto wrong = check_dns1123_subdomain(name); !wrong.empty())
    return out.push_back(invalid_value(at, name, join(wrong, ",")));
  if (std::ranges::count(name, '.') < 2)
    out.push_back(invalid_value(at, name, "should be a domain with at least three segments separated by dots"));
}

void check_side_effects(causes& out, const json::value& hook, const place& at, const leniency& may) {
  const place here(at, "sideEffects");
  auto& effects = hook["sideEffects"];
  const std::vector<std::string> known = may.any_side_effects
                                             ? std::vector<std::string>{"None", "NoneOnDryRun", "Some", "Unknown"}
                                             : std::vector<std::string>{"None", "NoneOnDryRun"};
  if (effects.is_null()) return out.push_back(required(here, "must specify one of " + join(known, ", ")));
  if (std::ranges::find(known, effects.as_string()) == known.end()) out.push_back(not_supported(here, effects, known));
}

void check_review_versions(causes& out, const json::value& hook, const place& at, const leniency& may) {
  constexpr std::string_view known = "v1, v1beta1";
  const place here(at, "admissionReviewVersions");
  auto& versions = hook["admissionReviewVersions"];
  if (versions.empty()) return out.push_back(required(here, fmt::format("must specify one of {}", known)));
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < versions.size(); ++i) {
    const place one(here, i);
    auto text = versions[i].as_string();
    if (!seen.insert(text).second)
      out.push_back(invalid_value(one, text, "duplicate version"));
    else
      add_problems(out, one, text, check_dns1035_label(text));
  }
  if (!may.any_review_versions && !has_known_version(hook))
    out.push_back(invalid_value(here, versions, fmt::format("must include at least one of {}", known)));
}

void check_hook(causes& out, const json::value& hook, const place& at, const leniency& may) {
  check_name(out, hook["name"].as_string(), place(at, "name"));
  for (std::size_t i = 0; i < hook["rules"].size(); ++i)
    check_rule_with_operations(out, hook["rules"][i], place(at, "rules", i));
  one_of(out, hook, at, "failurePolicy", {"Fail", "Ignore"});
  one_of(out, hook, at, "matchPolicy", {"Equivalent", "Exact"});
  check_side_effects(out, hook, at, may);
  if (auto& seconds = hook["timeoutSeconds"];
      seconds.is_integer() && (seconds.as_integer() < timeout_min || seconds.as_integer() > timeout_max))
    out.push_back(
        invalid_value(place(at, "timeoutSeconds"), seconds, "the timeout value must be between 1 and 30 seconds"));
  for (auto selector : {"namespaceSelector", "objectSelector"})
    check_label_selector(out, hook[selector], place(at, selector), may.any_label_values);
  one_of(out, hook, at, "reinvocationPolicy", {"IfNeeded", "Never"});  // of mutating ones alone
  check_webhook_client(out, hook["clientConfig"], place(at, "clientConfig"));
  if (!may.same_conditions) check_match_conditions(out, hook["matchConditions"], place(at, "matchConditions"));
  check_review_versions(out, hook, at, may);
}

void check(causes& out, const json::value& o, const leniency& may) {
  const place at("webhooks");
  auto& hooks = o["webhooks"];
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < hooks.size(); ++i) {
    const place here(at, i);
    auto name = hooks[i]["name"].as_string();
    check_hook(out, hooks[i], here, may);
    if (!may.repeated_names && !name.empty() && !names.insert(name).second)
      out.push_back(duplicate_value(place(here, "name"), name));
  }
}

bool has_wrong_selector(const json::value& hook) {
  causes wrong;
  for (auto selector : {"namespaceSelector", "objectSelector"}) check_label_selector(wrong, hook[selector], selector);
  return !wrong.empty();
}

bool have_same_conditions(const json::value& now, const json::value& before) {
  if (now.size() != before.size()) return false;
  for (std::size_t i = 0; i < now.size(); ++i)
    if (!(now[i]["matchConditions"] == before[i]["matchConditions"])) return false;
  return true;
}

void validate(causes& out, const json::value& o) { check(out, o, {}); }
void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto& hooks = old["webhooks"];
  leniency may;
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < hooks.size(); ++i) {
    may.any_side_effects = may.any_side_effects || !has_no_side_effects(hooks[i]);
    may.any_review_versions =
        may.any_review_versions || (!hooks[i]["admissionReviewVersions"].empty() && !has_known_version(hooks[i]));
    may.repeated_names = may.repeated_names || !names.insert(hooks[i]["name"].as_string()).second;
    may.any_label_values = may.any_label_values || has_wrong_selector(hooks[i]);
  }
  may.same_conditions = have_same_conditions(o["webhooks"], hooks);
  check(out, o, may);
}

constexpr std::string_view admission_group = "admissionregistration.k8s.io";

}  // namespace

const kind_rules kinds::mutating_webhooks{.group = admission_group,
                                          .resource = "mutatingwebhookconfigurations",
                                          .generation = true,
                                          .unconditional_update = false,
                                          .validate = validate,
                                          .validate_update = validate_update};
const kind_rules kinds::validating_webhooks{.group = admission_group,
                                            .resource = "validatingwebhookconfigurations",
                                            .generation = true,
                                            .unconditional_update = false,
                                            .validate = validate,
                                            .validate_update = validate_update};

}  // namespace kedge::api
