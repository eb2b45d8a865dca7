// workloads.cc: what runs many pods from a template: Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController,
// and the revisions they keep.
#include <fmt/format.h>

#include "api/kind_rules.h"
#include "api/kinds/core/pod_spec.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

bool empty_selector(const json::value& s) { return s["matchLabels"].empty() && s["matchExpressions"].empty(); }

// Selector and template together, for the kinds of apps/v1.
void check_selected_template(causes& out, const json::value& spec, std::string_view what) {
  if (!spec["selector"].is_object()) {
    out.push_back(required("spec.selector"));
  } else {
    check_label_selector(out, spec["selector"], "spec.selector");
    if (empty_selector(spec["selector"]))
      out.push_back(invalid_value("spec.selector", spec["selector"], fmt::format("empty selector is invalid for {}", what)));
  }
  check_pod_template(out, spec["template"], "spec.template", spec["selector"].is_object() && !empty_selector(spec["selector"]) ? &spec["selector"] : nullptr);
}

void restart_always(causes& out, const json::value& spec) {
  auto policy = spec["template"]["spec"]["restartPolicy"].as_string();
  if (!policy.empty() && policy != "Always") out.push_back(not_supported("spec.template.spec.restartPolicy", policy, {"Always"}));
  if (spec["template"]["spec"]["activeDeadlineSeconds"].is_integer())
    out.push_back(forbidden_value("spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported"));
}

bool zero(const json::value& v) { return v.is_integer() ? v.as_integer() == 0 : v.as_string() == "0%"; }

void deployment(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  for (auto name : {"replicas", "minReadySeconds", "revisionHistoryLimit"}) not_negative(out, spec, "spec", name);
  check_selected_template(out, spec, "deployment");
  restart_always(out, spec);
  auto& strategy = spec["strategy"];
  auto type = strategy["type"].as_string();
  if (type != "Recreate" && type != "RollingUpdate") out.push_back(not_supported("spec.strategy.type", type, {"Recreate", "RollingUpdate"}));
  auto& rolling = strategy["rollingUpdate"];
  if (type == "Recreate" && rolling.is_object())
    out.push_back(forbidden_value("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"));
  if (type == "RollingUpdate") {
    if (!rolling.is_object()) {
      out.push_back(required("spec.strategy.rollingUpdate", "this should be defaulted and never be nil"));
    } else {
      check_int_or_percent(out, rolling["maxUnavailable"], "spec.strategy.rollingUpdate.maxUnavailable");
      check_int_or_percent(out, rolling["maxSurge"], "spec.strategy.rollingUpdate.maxSurge");
      if (zero(rolling["maxUnavailable"]) && zero(rolling["maxSurge"]))
        out.push_back(invalid_value("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"));
    }
  }
  if (auto& p = spec["progressDeadlineSeconds"]; p.is_integer()) {
    not_negative(out, spec, "spec", "progressDeadlineSeconds");
    if (p.as_integer() <= spec["minReadySeconds"].as_integer())
      out.push_back(invalid_value("spec.progressDeadlineSeconds", p, "must be greater than minReadySeconds"));
  }
}

void replica_set(causes& out, const json::value& o) {
  for (auto name : {"replicas", "minReadySeconds"}) not_negative(out, o["spec"], "spec", name);
  check_selected_template(out, o["spec"], "deployment");
  restart_always(out, o["spec"]);
}

void selector_immutable(causes& out, const json::value& o, const json::value& old) { immutable(out, o["spec"]["selector"], old["spec"]["selector"], "spec.selector"); }

// The spec with a volume for each claim template, as the controller's pods will have them: mounts may name those.
json::value with_claimed_volumes(json::value spec) {
  auto& claims = spec["volumeClaimTemplates"];
  if (claims.empty()) return spec;
  auto known = [&](std::string_view name) {
    auto& volumes = spec["template"]["spec"]["volumes"];
    for (std::size_t i = 0; i < volumes.size(); ++i)
      if (volumes[i]["name"].as_string() == name) return true;
    return false;
  };
  for (std::size_t i = 0; i < spec["volumeClaimTemplates"].size(); ++i) {
    auto name = std::string(spec["volumeClaimTemplates"][i]["metadata"]["name"].as_string());
    if (!known(name))
      spec.member("template").member("spec").member("volumes").push_back(json::object{{"name", name}, {"persistentVolumeClaim", json::object{{"claimName", name}}}});
  }
  return spec;
}

void stateful_set(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  for (auto name : {"replicas", "minReadySeconds", "revisionHistoryLimit"}) not_negative(out, spec, "spec", name);
  one_of(out, spec, "spec", "podManagementPolicy", {"OrderedReady", "Parallel"});
  auto type = spec["updateStrategy"]["type"].as_string();
  if (type.empty())
    out.push_back(required("spec.updateStrategy"));
  else if (type != "OnDelete" && type != "RollingUpdate")
    out.push_back(invalid_value("spec.updateStrategy", spec["updateStrategy"], "must be 'RollingUpdate' or 'OnDelete'"));
  not_negative(out, spec["updateStrategy"]["rollingUpdate"], "spec.updateStrategy.rollingUpdate", "partition");
  not_negative(out, spec["ordinals"], "spec.ordinals", "start");
  check_selected_template(out, with_claimed_volumes(spec), "statefulset");
  restart_always(out, spec);
}

void stateful_set_update(causes& out, const json::value& o, const json::value& old) {
  auto allowed = old["spec"];
  for (auto name : {"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"}) {
    if (o["spec"].find(name))
      allowed.set(name, o["spec"][name]);
    else
      allowed.erase(name);
  }
  if (allowed == o["spec"]) return;
  out.push_back(forbidden_value("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
                                        "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"));
}

void daemon_set(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  for (auto name : {"minReadySeconds", "revisionHistoryLimit"}) not_negative(out, spec, "spec", name);
  check_selected_template(out, spec, "daemonset");
  restart_always(out, spec);
  auto type = spec["updateStrategy"]["type"].as_string();
  if (type != "OnDelete" && type != "RollingUpdate") {
    out.push_back(not_supported("spec.updateStrategy.type", type, {"OnDelete", "RollingUpdate"}));
  } else if (type == "RollingUpdate") {
    auto& r = spec["updateStrategy"]["rollingUpdate"];
    if (!r.is_object()) {
      out.push_back(required("spec.updateStrategy.rollingUpdate"));
      return;
    }
    check_int_or_percent(out, r["maxUnavailable"], "spec.updateStrategy.rollingUpdate.maxUnavailable");
    check_int_or_percent(out, r["maxSurge"], "spec.updateStrategy.rollingUpdate.maxSurge");
    if (zero(r["maxUnavailable"]) && zero(r["maxSurge"]))
      out.push_back(required("spec.updateStrategy.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0"));
  }
}

void replication_controller(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  for (auto name : {"replicas", "minReadySeconds"}) not_negative(out, spec, "spec", name);
  if (spec["selector"].empty())
    out.push_back(required("spec.selector"));
  else
    check_labels(out, spec["selector"], "spec.selector");
  if (!spec["template"].is_object()) {
    out.push_back(required("spec.template"));
    return;
  }
  json::value selector = json::object{{"matchLabels", spec["selector"]}};
  check_pod_template(out, spec["template"], "spec.template", spec["selector"].empty() ? nullptr : &selector);
  restart_always(out, spec);
}

void controller_revision(causes& out, const json::value& o) {
  if (!o["revision"].is_null() && o["revision"].as_integer() < 0) out.push_back(invalid_value("revision", o["revision"], "must be greater than or equal to 0"));
}
void controller_revision_update(causes& out, const json::value& o, const json::value& old) { immutable(out, o["data"], old["data"], "data"); }

void warn_template(std::vector<std::string>& out, const json::value& o) { warn_pod_spec(out, o["spec"]["template"]["spec"], "spec.template.spec"); }

// Claim templates say what they are.
void name_claim_templates(json::value& o) {
  if (!o["spec"]["volumeClaimTemplates"].array()) return;
  for (auto& claim : *o.member("spec").member("volumeClaimTemplates").array()) {
    claim.set("kind", "PersistentVolumeClaim");
    claim.set("apiVersion", "v1");
  }
}

// A DaemonSet counts its templates in an annotation, for what was made of it before there were revisions.
constexpr const char* template_generation = "deprecated.daemonset.template.generation";
void count_template(json::value& o) {
  if (o["metadata"]["annotations"][template_generation].is_null()) o.member("metadata").member("annotations").set(template_generation, "0");
}
void daemon_set_prepare_create(json::value& o, const kind_context&) { o.member("metadata").member("annotations").set(template_generation, "1"); }
void daemon_set_prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  auto count = parse_int(old["metadata"]["annotations"][template_generation].as_string()).value_or(0);
  if (c.subresource != "status" && !(o["spec"]["template"] == old["spec"]["template"])) ++count;
  o.member("metadata").member("annotations").set(template_generation, std::to_string(count));
}

// A Deployment's status keeps the labels of the object.
void deployment_prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource == "status") o.member("metadata").set("labels", old["metadata"]["labels"]);
}

}  // namespace

const kind_rules kinds::deployments{.group = "apps", .resource = "deployments", .generation = true, .prepare_update = deployment_prepare_update, .validate = deployment, .validate_update = selector_immutable, .warn = warn_template};
const kind_rules kinds::replica_sets{.group = "apps", .resource = "replicasets", .generation = true, .validate = replica_set, .validate_update = selector_immutable, .warn = warn_template};
const kind_rules kinds::stateful_sets{.group = "apps", .resource = "statefulsets", .generation = true, .convert = name_claim_templates, .validate = stateful_set, .validate_update = stateful_set_update, .warn = warn_template};
const kind_rules kinds::daemon_sets{.group = "apps", .resource = "daemonsets", .generation = true, .convert = count_template, .prepare_create = daemon_set_prepare_create, .prepare_update = daemon_set_prepare_update, .validate = daemon_set, .validate_update = selector_immutable, .warn = warn_template};
const kind_rules kinds::controller_revisions{.group = "apps", .resource = "controllerrevisions", .validate = controller_revision, .validate_update = controller_revision_update};
const kind_rules kinds::replication_controllers{.group = "", .resource = "replicationcontrollers", .generation = true, .orphan_by_default = true, .validate = replication_controller, .warn = warn_template};

}  // namespace kedge::api
