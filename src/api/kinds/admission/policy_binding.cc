// policy_binding.cc: ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding.
#include <set>

#include "api/kinds/admission/matching.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::string_view admission_group = "admissionregistration.k8s.io";

void check_param_ref(causes& out, const json::value& ref, const place& at) {
  constexpr std::string_view both = "name and selector are mutually exclusive";
  if (!ref.is_object()) return;
  auto name = ref["name"].as_string();
  const place of_name(at, "name"), of_selector(at, "selector");
  const bool named = !name.empty(), selected = ref["selector"].is_object();
  if (named) add_problems(out, of_name, name, check_path_segment(name));
  if (named && selected) out.push_back(forbidden_value(of_name, both));
  if (selected) check_label_selector(out, ref["selector"], of_selector);
  if (named && selected) out.push_back(forbidden_value(of_selector, both));
  if (!named && !selected) out.push_back(required(at, "one of name or selector must be specified"));
  one_of_needed(out, ref, at, "parameterNotFoundAction", {"Deny", "Allow"});
}

void check_binding(causes& out, const json::value& spec, const place& at) {
  if (auto name = spec["policyName"].as_string(); !name.empty())
    add_problems(out, place(at, "policyName"), name, check_dns1123_subdomain(name));
  check_param_ref(out, spec["paramRef"], place(at, "paramRef"));
  check_match_resources(out, spec["matchResources"], place(at, "matchResources"));
}

void check_actions(causes& out, const json::value& actions, const place& at) {
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < actions.size(); ++i) {
    const place here(at, i);
    auto action = actions[i].as_string();
    if (action != "Audit" && action != "Deny" && action != "Warn")
      out.push_back(not_supported(here, action, {"Audit", "Deny", "Warn"}));
    if (!seen.insert(action).second) out.push_back(duplicate_value(here, action));
  }
  if (seen.contains("Deny") && seen.contains("Warn"))
    out.push_back(invalid_value(at, actions,
                                "must not contain both Deny and Warn (repeating the same validation failure "
                                "information in the API response and "
                                "headers serves no purpose)"));
}

void validating(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  const place at("spec");
  check_binding(out, spec, at);
  check_actions(out, spec["validationActions"], place(at, "validationActions"));
  // Declared with the type: they come last.
  need(out, spec, at, "policyName");
  need(out, spec, at, "validationActions");
}

void mutating(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  const place at("spec");
  need(out, spec, at, "policyName");
  check_binding(out, spec, at);
  check_mutating_operations(out, spec["matchResources"], place(at, "matchResources"));
}

}  // namespace

const kind_rules kinds::validating_policy_bindings{.group = admission_group,
                                                   .resource = "validatingadmissionpolicybindings",
                                                   .generation = true,
                                                   .unconditional_update = false,
                                                   .validate = validating};
const kind_rules kinds::mutating_policy_bindings{.group = admission_group,
                                                 .resource = "mutatingadmissionpolicybindings",
                                                 .generation = true,
                                                 .unconditional_update = false,
                                                 .validate = mutating};

}  // namespace kedge::api
