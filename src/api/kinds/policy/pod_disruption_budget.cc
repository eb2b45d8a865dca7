// pod_disruption_budget.cc: PodDisruptionBudget.
#include "api/kinds/core/workload.h"
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

void check(causes& out, const json::value& spec, bool any_label_values) {
  const place at("spec");
  if (!spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null())
    out.push_back(invalid_value(at, internal_form("policy/v1.PodDisruptionBudgetSpec", spec),
                                "minAvailable and maxUnavailable cannot be both set"));
  for (auto member : {"minAvailable", "maxUnavailable"}) {
    check_int_or_percent(out, spec[member], place(at, member));
    check_at_most_100_percent(out, spec[member], place(at, member));
  }
  check_label_selector(out, spec["selector"], place(at, "selector"), any_label_values);
  one_of(out, spec, at, "unhealthyPodEvictionPolicy", {"AlwaysAllow", "IfHealthyBudget"});
}

void validate(causes& out, const json::value& o) { check(out, o["spec"], false); }
void validate_update(causes& out, const json::value& o, const json::value& old) {
  check(out, o["spec"], has_bad_values(old["spec"]["selector"]));
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  const place at("status");
  check_standard_conditions(out, o["status"]["conditions"], place(at, "conditions"));
  check_counts(out, o["status"], at, {"disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"});
}

// A label by which v1beta1's empty selectors (of no pods) are told from today's (of all) means nothing beside another.
void drop_old_label(json::value& o, const json::value* old) {
  constexpr std::string_view label = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";
  auto& selector = o["spec"]["selector"];
  if (!selector.is_object() || (old && (*old)["spec"]["selector"] == selector)) return;
  auto& rules = selector["matchExpressions"];
  const bool alone =
      rules.size() == 1 && selector["matchLabels"].empty() && rules[0]["operator"].as_string() == "Exists";
  json::array kept;
  for (std::size_t i = 0; i < rules.size(); ++i)
    if (alone || rules[i]["key"].as_string() != label) kept.push_back(rules[i]);
  if (kept.size() == rules.size()) return;
  auto& target = o.member("spec").member("selector");
  kept.empty() ? (void)target.erase("matchExpressions") : target.set("matchExpressions", std::move(kept));
}

void prepare_create(json::value& o, const kind_context&) { drop_old_label(o, nullptr); }
void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource.empty()) drop_old_label(o, &old);
}

}  // namespace

const kind_rules kinds::pod_disruption_budgets{.group = "policy",
                                               .resource = "poddisruptionbudgets",
                                               .name = check_path_segment,
                                               .generation = true,
                                               .unconditional_update = false,
                                               .prepare_create = prepare_create,
                                               .prepare_update = prepare_update,
                                               .validate = validate,
                                               .validate_update = validate_update,
                                               .validate_part = validate_part};

}  // namespace kedge::api
