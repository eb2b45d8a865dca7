// replication_controller.cc: ReplicationController.
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/pod_warnings.h"
#include "api/kinds/core/workload.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void check(causes& out, const json::value& o, const pod_options& options) {
  const place at("spec"), of_template(at, "template"), of_pod(of_template, "spec");
  auto &spec = o["spec"], &selector = spec["selector"];
  if (selector.empty()) out.push_back(required(place(at, "selector")));
  if (!spec["template"].is_object()) {
    out.push_back(required(of_template));
  } else {
    if (!selector.empty())
      check_template_selected(out, json::object{{"matchLabels", selector}}, spec["template"], of_template);
    check_pod_template(out, spec["template"], of_template, options);
    check_restarts_always(out, spec["template"]["spec"], of_pod, "ReplicationController");
  }
  not_negative(out, spec, at, "replicas");
  not_negative(out, spec, at, "minReadySeconds");
}

void validate(causes& out, const json::value& o) { check(out, o, {}); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check(out, o, template_options(old["spec"]["template"]));
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  const place at("status");
  auto& status = o["status"];
  check_counts(out, status, at,
               {"replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"});
  for (auto member : {"fullyLabeledReplicas", "readyReplicas", "availableReplicas"})
    check_not_above(out, status, at, member, "replicas", "cannot be greater than status.replicas");
  check_not_above(out, status, at, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas");
}

// Of an update the real server judges the template that was.
void warn(warnings& out, const json::value& o, const json::value* old) {
  if (!old) warn_workload(out, o, old);
  if (old && is_new_generation(o, old)) warn_pod_template(out, (*old)["spec"]["template"], "spec.template");
}

}  // namespace

const kind_rules kinds::replication_controllers{.group = "",
                                                .resource = "replicationcontrollers",
                                                .generation = true,
                                                .orphan_by_default = true,
                                                .validate = validate,
                                                .validate_update = validate_update,
                                                .validate_part = validate_part,
                                                .warn = warn};

}  // namespace kedge::api
