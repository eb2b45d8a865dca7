// deployment.cc: Deployment.
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/workload.h"
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

void check_strategy(causes& out, const json::value& strategy, const place& at) {
  auto type = strategy["type"].as_string();
  auto& rolling = strategy["rollingUpdate"];
  const place here(at, "rollingUpdate"), unavailable(here, "maxUnavailable"), surge(here, "maxSurge");
  if (type == "Recreate") {
    if (rolling.is_object())
      out.push_back(forbidden_value(here, "may not be specified when strategy `type` is 'Recreate'"));
  } else if (type != "RollingUpdate") {
    out.push_back(
        not_supported(at, internal_form("apps/v1.DeploymentStrategy", strategy), {"Recreate", "RollingUpdate"}));
  } else if (!rolling.is_object()) {
    out.push_back(required(here, "this should be defaulted and never be nil"));
  } else {
    check_int_or_percent(out, rolling["maxUnavailable"], unavailable);
    check_int_or_percent(out, rolling["maxSurge"], surge);
    if (number_in(rolling["maxUnavailable"]) == 0 && number_in(rolling["maxSurge"]) == 0)
      out.push_back(invalid_value(unavailable, rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"));
    check_at_most_100_percent(out, rolling["maxUnavailable"], unavailable);
  }
}

void check(causes& out, const json::value& o, const pod_options& options) {
  const place at("spec");
  auto& spec = o["spec"];
  not_negative(out, spec, at, "replicas");
  const place of_selector(at, "selector");
  if (check_workload_selector(out, spec["selector"], of_selector, "deployment"))
    check_replica_template(out, spec, at, options);
  else
    out.push_back(invalid_value(of_selector, spec["selector"], "invalid label selector"));
  check_strategy(out, spec["strategy"], place("spec.strategy"));
  not_negative(out, spec, at, "minReadySeconds");
  not_negative(out, spec, at, "revisionHistoryLimit");
  not_negative(out, spec, at, "progressDeadlineSeconds");
  if (auto& deadline = spec["progressDeadlineSeconds"];
      deadline.is_integer() && deadline.as_integer() <= spec["minReadySeconds"].as_integer())
    out.push_back(
        invalid_value(place(at, "progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds"));
}

void validate(causes& out, const json::value& o) { check(out, o, {}); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check(out, o, template_options(old["spec"]["template"]));
  immutable(out, o["spec"]["selector"], old["spec"]["selector"], "spec.selector");
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  const place at("status");
  auto& status = o["status"];
  check_counts(out, status, at,
               {"observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
                "unavailableReplicas", "terminatingReplicas", "collisionCount"});
  for (auto member : {"updatedReplicas", "readyReplicas", "availableReplicas"})
    check_not_above(out, status, at, member, "replicas", "cannot be greater than status.replicas");
  check_not_above(out, status, at, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas");
  check_collisions(out, o, old);
}

// A status update keeps the labels.
void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource == "status") o.member("metadata").set("labels", old["metadata"]["labels"]);
}

}  // namespace

const kind_rules kinds::deployments{.group = "apps",
                                    .resource = "deployments",
                                    .generation = true,
                                    .annotations_count = true,
                                    .prepare_update = prepare_update,
                                    .validate = validate,
                                    .validate_update = validate_update,
                                    .validate_part = validate_part,
                                    .warn = warn_workload};

}  // namespace kedge::api
