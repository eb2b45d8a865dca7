// daemon_set.cc: DaemonSet. It counts its templates in an annotation, for what was made of it before there were
// revisions.
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/pod_warnings.h"
#include "api/kinds/core/workload.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr const char* template_generation = "deprecated.daemonset.template.generation";

std::int64_t generation_of_template(const json::value& o) {
  return parse_int(o["metadata"]["annotations"][template_generation].as_string()).value_or(0);
}

void set_generation(json::value& o, std::int64_t n) {
  o.member("metadata").member("annotations").set(template_generation, std::to_string(n));
}

void convert(json::value& o) {
  if (auto& rolling = o["spec"]["updateStrategy"]["rollingUpdate"]; rolling.is_object())
    for (auto member : {"maxUnavailable", "maxSurge"})
      if (rolling[member].is_null()) o.member("spec").member("updateStrategy").member("rollingUpdate").set(member, 0);
  if (o["metadata"]["annotations"][template_generation].is_null()) set_generation(o, 0);
}

void prepare_create(json::value& o, const kind_context&) {
  if (generation_of_template(o) < 1) set_generation(o, 1);
}

void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  const bool changed = c.subresource != "status" && !(o["spec"]["template"] == old["spec"]["template"]);
  set_generation(o, generation_of_template(old) + (changed ? 1 : 0));
}

void check_strategy(causes& out, const json::value& strategy, const place& at) {
  auto type = strategy["type"].as_string();
  if (type == "OnDelete") return;
  if (type != "RollingUpdate")
    return out.push_back(
        not_supported(at, internal_form("apps/v1.DaemonSetUpdateStrategy", strategy), {"RollingUpdate", "OnDelete"}));
  auto& rolling = strategy["rollingUpdate"];
  const place here(at, "rollingUpdate"), unavailable(here, "maxUnavailable"), surge(here, "maxSurge");
  check_int_or_percent(out, rolling["maxUnavailable"], unavailable);
  check_int_or_percent(out, rolling["maxSurge"], surge);
  check_at_most_100_percent(out, rolling["maxUnavailable"], unavailable);
  check_at_most_100_percent(out, rolling["maxSurge"], surge);
  const bool fewer = number_in(rolling["maxUnavailable"]) != 0, more = number_in(rolling["maxSurge"]) != 0;
  if (fewer && more)
    out.push_back(invalid_value(surge, rolling["maxSurge"], "may not be set when maxUnavailable is non-zero"));
  if (!fewer && !more) out.push_back(required(unavailable, "cannot be 0 when maxSurge is 0"));
}

void check(causes& out, const json::value& o, const pod_options& options, bool any_label_values) {
  const place at("spec"), of_selector(at, "selector"), of_template(at, "template"), of_pod(of_template, "spec");
  auto &spec = o["spec"], &selector = spec["selector"];
  if (selector.is_object()) check_label_selector(out, selector, of_selector, any_label_values);
  if (is_good_selector(selector)) check_template_selected(out, selector, spec["template"], of_template);
  if (selector.is_object() && selector["matchLabels"].empty() && selector["matchExpressions"].empty())
    out.push_back(invalid_value(of_selector, selector, "empty selector is invalid for daemonset"));
  check_pod_template(out, spec["template"], of_template, options);
  check_restarts_always(out, spec["template"]["spec"], of_pod, "DaemonSet");
  not_negative(out, spec, at, "minReadySeconds");
  check_strategy(out, spec["updateStrategy"], place(at, "updateStrategy"));
  not_negative(out, spec, at, "revisionHistoryLimit");
}

void validate(causes& out, const json::value& o) { check(out, o, {}, false); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto options = template_options(old["spec"]["template"]);
  immutable(out, o["spec"]["selector"], old["spec"]["selector"], "spec.selector");
  check(out, o, options, options.any_label_values_in_selectors || has_bad_values(old["spec"]["selector"]));
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  check_counts(
      out, o["status"], "status",
      {"currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
       "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount"});
  check_collisions(out, o, old);
}

void warn(warnings& out, const json::value& o, const json::value* old) {
  if (!old || generation_of_template(o) != generation_of_template(*old))
    warn_pod_template(out, o["spec"]["template"], "spec.template");
}

}  // namespace

const kind_rules kinds::daemon_sets{.group = "apps",
                                    .resource = "daemonsets",
                                    .generation = true,
                                    .convert = convert,
                                    .prepare_create = prepare_create,
                                    .prepare_update = prepare_update,
                                    .validate = validate,
                                    .validate_update = validate_update,
                                    .validate_part = validate_part,
                                    .warn = warn};

}  // namespace kedge::api
