// replica_set.cc: ReplicaSet.
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/workload.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void check(causes& out, const json::value& o, const pod_options& options) {
  const place at("spec"), of_selector(at, "selector");
  auto& spec = o["spec"];
  not_negative(out, spec, at, "replicas");
  not_negative(out, spec, at, "minReadySeconds");
  if (check_workload_selector(out, spec["selector"], of_selector, "deployment"))
    check_replica_template(out, spec, at, options);
  else
    out.push_back(invalid_value(of_selector, spec["selector"], "invalid label selector"));
}

void validate(causes& out, const json::value& o) { check(out, o, {}); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check(out, o, template_options(old["spec"]["template"]));
  immutable(out, o["spec"]["selector"], old["spec"]["selector"], "spec.selector");
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  const place at("status");
  auto& status = o["status"];
  check_counts(out, status, at,
               {"replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration",
                "terminatingReplicas"});
  for (auto member : {"fullyLabeledReplicas", "readyReplicas", "availableReplicas"})
    check_not_above(out, status, at, member, "replicas", "cannot be greater than status.replicas");
  check_not_above(out, status, at, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas");
}

}  // namespace

const kind_rules kinds::replica_sets{.group = "apps",
                                     .resource = "replicasets",
                                     .generation = true,
                                     .validate = validate,
                                     .validate_update = validate_update,
                                     .validate_part = validate_part,
                                     .warn = warn_workload};

}  // namespace kedge::api
