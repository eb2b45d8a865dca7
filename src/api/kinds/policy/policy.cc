// policy.cc: what bounds others: PriorityClass, PodDisruptionBudget, RuntimeClass, flow control,
// HorizontalPodAutoscaler.
#include <fmt/format.h>

#include "api/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::int64_t user_priority_max = 1'000'000'000;

void priority_class(causes& out, const json::value& o) {
  auto name = o["metadata"]["name"].as_string();
  const bool system = name == "system-cluster-critical" || name == "system-node-critical";
  if (name.starts_with("system-") && !system)
    out.push_back(forbidden_value("metadata.name", "priority class names with 'system-' prefix are reserved for system use only. error: " + std::string(name) + " is not a known system priority class"));
  if (!system && o["value"].as_integer() > user_priority_max)
    out.push_back(forbidden_value("value", fmt::format("maximum allowed value of a user defined priority is {}", user_priority_max)));
  one_of(out, o, "", "preemptionPolicy", {"Never", "PreemptLowerPriority"});
}

void priority_class_update(causes& out, const json::value& o, const json::value& old) {
  priority_class(out, o);
  if (o["value"].as_integer() != old["value"].as_integer()) out.push_back(forbidden_value("value", "may not be changed in an update."));
  if (!(o["preemptionPolicy"] == old["preemptionPolicy"])) out.push_back(invalid_value("preemptionPolicy", o["preemptionPolicy"], "field is immutable"));
}

std::string keep_system_classes(const json::value& o) {
  auto name = o["metadata"]["name"].as_string();
  if (name == "system-cluster-critical" || name == "system-node-critical") return "this is a system priority class and cannot be deleted";
  return {};
}

void disruption_budget(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  if (!spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null())
    out.push_back(invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set"));
  check_int_or_percent(out, spec["minAvailable"], "spec.minAvailable");
  check_int_or_percent(out, spec["maxUnavailable"], "spec.maxUnavailable");
  check_label_selector(out, spec["selector"], "spec.selector");
  one_of(out, spec, "spec", "unhealthyPodEvictionPolicy", {"AlwaysAllow", "IfHealthyBudget"});
}

void runtime_class(causes& out, const json::value& o) { add_problems(out, "handler", o["handler"], check_dns1123_label(o["handler"].as_string())); }
void runtime_class_update(causes& out, const json::value& o, const json::value& old) {
  runtime_class(out, o);
  immutable(out, o["handler"], old["handler"], "handler");
}

void autoscaler(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  if (auto& least = spec["minReplicas"]; least.is_integer() && least.as_integer() < 1)
    out.push_back(invalid_value("spec.minReplicas", least, "must be greater than or equal to 1"));
  if (spec["maxReplicas"].as_integer() < 1) out.push_back(invalid_value("spec.maxReplicas", spec["maxReplicas"], "must be greater than 0"));
  if (spec["minReplicas"].is_integer() && spec["maxReplicas"].as_integer() < spec["minReplicas"].as_integer())
    out.push_back(invalid_value("spec.maxReplicas", spec["maxReplicas"], "must be greater than or equal to `minReplicas`"));
  need(out, spec["scaleTargetRef"], "spec.scaleTargetRef", "kind");
  need(out, spec["scaleTargetRef"], "spec.scaleTargetRef", "name");
  for (std::size_t i = 0; i < spec["metrics"].size(); ++i) {
    auto path = at("spec.metrics", i);
    if (spec["metrics"][i]["type"].as_string().empty())
      out.push_back(required(path + ".type", "must specify a metric source type"));
    else
      one_of(out, spec["metrics"][i], path, "type", {"ContainerResource", "External", "Object", "Pods", "Resource"});
  }
}

void flow_schema(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  auto precedence = spec["matchingPrecedence"].as_integer();
  if (precedence <= 0 || precedence > 10000) out.push_back(invalid_value("spec.matchingPrecedence", precedence, "must be a positive value no greater than 10000"));
  if (spec["priorityLevelConfiguration"]["name"].as_string().empty()) out.push_back(required("spec.priorityLevelConfiguration.name", "must reference a priority level"));
}

void priority_level(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  auto type = spec["type"].as_string();
  if (type == "Limited" && !spec["limited"].is_object()) out.push_back(required("spec.limited", "must not be empty when type is Limited"));
  if (type == "Limited" && spec["limited"].is_object() && spec["limited"]["limitResponse"]["type"].as_string().empty())
    out.push_back(required("spec.limited.limitResponse.type"));
  if (type == "Exempt" && spec["limited"].is_object()) out.push_back(forbidden_value("spec.limited", "must be nil if the type is not Limited"));
  if (type != "Limited" && type != "Exempt") out.push_back(not_supported("spec.type", type, {"Exempt", "Limited"}));
}

}  // namespace

const kind_rules kinds::priority_classes{.group = "scheduling.k8s.io", .resource = "priorityclasses", .generation = true, .validate = priority_class, .validate_update = priority_class_update, .refuse_delete = keep_system_classes};
const kind_rules kinds::pod_disruption_budgets{.group = "policy", .resource = "poddisruptionbudgets", .generation = true, .unconditional_update = false, .validate = disruption_budget};
const kind_rules kinds::runtime_classes{.group = "node.k8s.io", .resource = "runtimeclasses", .create_by_update = true, .unconditional_update = false, .validate = runtime_class, .validate_update = runtime_class_update};
const kind_rules kinds::horizontal_pod_autoscalers{.group = "autoscaling", .resource = "horizontalpodautoscalers", .validate = autoscaler};
const kind_rules kinds::flow_schemas{.group = "flowcontrol.apiserver.k8s.io", .resource = "flowschemas", .generation = true, .validate = flow_schema};
const kind_rules kinds::priority_level_configurations{.group = "flowcontrol.apiserver.k8s.io", .resource = "prioritylevelconfigurations", .generation = true, .validate = priority_level};

}  // namespace kedge::api
