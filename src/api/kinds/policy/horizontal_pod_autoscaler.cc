// horizontal_pod_autoscaler.cc: HorizontalPodAutoscaler.
#include <fmt/format.h>

#include "api/kinds/core/resources.h"
#include "api/kinds/networking/references.h"
#include "api/registry/kind_rules.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

// How an apiVersion that an object is referred to by must be.
enum class version_rule { any, well_formed, with_group };

std::string_view wrong_version(const json::value& reference, version_rule rule, std::string& buffer) {
  auto version = reference["apiVersion"].as_string();
  if (rule == version_rule::any) return {};
  auto slash = version.find('/');
  if (slash != version.npos && version.find('/', slash + 1) != version.npos)
    return buffer = fmt::format("unexpected GroupVersion string: {}", version);
  const bool has_group = slash != version.npos && slash > 0;
  return rule == version_rule::with_group && !has_group ? "apiVersion must specify API group" : "";
}

void check_reference(causes& out, const json::value& reference, const place& at, version_rule rule) {
  check_needed_segment(out, reference, at, "kind");
  check_needed_segment(out, reference, at, "name");
  std::string buffer;
  if (auto wrong = wrong_version(reference, rule, buffer); !wrong.empty())
    out.push_back(invalid_value(place(at, "apiVersion"), reference["apiVersion"].as_string(), wrong));
}

void check_target(causes& out, const json::value& target, const place& at) {
  auto type = target["type"].as_string();
  if (type.empty()) out.push_back(required(place(at, "type"), "must specify a metric target type"));
  if (type != "Utilization" && type != "Value" && type != "AverageValue")
    out.push_back(invalid_value(place(at, "type"), type, "must be either Utilization, Value, or AverageValue"));
  for (auto member : {"value", "averageValue"})
    if (auto q = schema::quantity::parse(target[member].as_string()); target[member].is_string() && q && q->sign() <= 0)
      out.push_back(invalid_value(place(at, member), q->text(), "must be positive"));
  if (auto& percent = target["averageUtilization"]; percent.is_integer() && percent.as_integer() < 1)
    out.push_back(invalid_value(place(at, "averageUtilization"), percent, "must be greater than 0"));
}

void check_metric(causes& out, const json::value& metric, const place& at) {
  if (need(out, metric, at, "name", "must specify a metric name"))
    add_problems(out, place(at, "name"), metric["name"], check_path_segment(metric["name"].as_string()));
}

void check_object_source(causes& out, const json::value& s, const place& at, version_rule rule) {
  auto& target = s["target"];
  const place of_target(at, "target");
  check_reference(out, s["describedObject"], place(at, "describedObject"), rule);
  check_metric(out, s["metric"], place(at, "metric"));
  check_target(out, target, of_target);
  if (target["value"].is_null() && target["averageValue"].is_null())
    out.push_back(required(place(of_target, "averageValue"), "must set either a target value or averageValue"));
}

void check_external_source(causes& out, const json::value& s, const place& at) {
  auto& target = s["target"];
  const place of_target(at, "target");
  check_metric(out, s["metric"], place(at, "metric"));
  check_target(out, target, of_target);
  const bool total = !target["value"].is_null(), average = !target["averageValue"].is_null();
  if (!total && !average)
    out.push_back(
        required(place(of_target, "averageValue"), "must set either a target value for metric or a per-pod target"));
  if (total && average)
    out.push_back(
        forbidden_value(place(of_target, "value"), "may not set both a target value for metric and a per-pod target"));
}

void check_pods_source(causes& out, const json::value& s, const place& at) {
  const place of_target(at, "target");
  check_metric(out, s["metric"], place(at, "metric"));
  check_target(out, s["target"], of_target);
  if (s["target"]["averageValue"].is_null())
    out.push_back(required(place(of_target, "averageValue"), "must specify a positive target averageValue"));
}

void check_usage_target(causes& out, const json::value& target, const place& at) {
  check_target(out, target, at);
  const bool share = !target["averageUtilization"].is_null(), amount = !target["averageValue"].is_null();
  if (!share && !amount)
    out.push_back(
        required(place(at, "averageUtilization"), "must set either a target raw value or a target utilization"));
  if (share && amount)
    out.push_back(
        forbidden_value(place(at, "averageValue"), "may not set both a target raw value and a target utilization"));
}

void check_resource_source(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "name", "must specify a resource name");
  check_usage_target(out, s["target"], place(at, "target"));
}

void check_container_source(causes& out, const json::value& s, const place& at) {
  if (need(out, s, at, "name", "must specify a resource name"))
    check_container_resource_name(out, s["name"].as_string(), place(at, "name"));
  if (need(out, s, at, "container", "must specify a container"))
    add_problems(out, place(at, "container"), s["container"], check_dns1123_label(s["container"].as_string()));
  check_usage_target(out, s["target"], place(at, "target"));
}

struct metric_source {
  std::string_view type, member;
};
// In the order in which the first one counts.
constexpr metric_source sources[] = {{"Object", "object"},
                                     {"External", "external"},
                                     {"Pods", "pods"},
                                     {"Resource", "resource"},
                                     {"ContainerResource", "containerResource"}};

void check_source(causes& out, std::string_view member, const json::value& s, const place& at, version_rule rule) {
  if (member == "object") return check_object_source(out, s, at, rule);
  if (member == "external") return check_external_source(out, s, at);
  if (member == "pods") return check_pods_source(out, s, at);
  if (member == "resource") return check_resource_source(out, s, at);
  check_container_source(out, s, at);
}

void check_spec_of_metric(causes& out, const json::value& metric, const place& at, version_rule rule) {
  auto type = metric["type"].as_string();
  const cause unknown =
      not_supported(place(at, "type"), type, {"ContainerResource", "External", "Object", "Pods", "Resource"});
  std::string_view wanted;
  for (auto& s : sources)
    if (s.type == type) wanted = s.member;
  if (type.empty()) out.push_back(required(place(at, "type"), "must specify a metric source type"));
  if (wanted.empty()) out.push_back(unknown);
  std::size_t count = 0;
  for (auto& s : sources)
    if (metric[s.member].is_object() && ++count == 1)
      check_source(out, s.member, metric[s.member], place(at, s.member), rule);
  if (wanted.empty())
    out.push_back(unknown);
  else if (!metric[wanted].is_object())
    out.push_back(required(place(at, wanted), "must populate information for the given metric source"));
  if (count == 1) return;
  for (auto& s : sources)
    if (s.member != wanted && metric[s.member].is_object())
      out.push_back(forbidden_value(place(at, s.member), "must populate the given metric source only"));
}

void check_metrics(causes& out, const json::value& spec, const place& at, version_rule rule) {
  auto& metrics = spec["metrics"];
  bool from_elsewhere = false;
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    check_spec_of_metric(out, metrics[i], place(at, i), rule);
    auto type = metrics[i]["type"].as_string();
    from_elsewhere = from_elsewhere || type == "Object" || type == "External";
  }
  if (auto& least = spec["minReplicas"]; least.is_integer() && least.as_integer() == 0 && !from_elsewhere)
    out.push_back(
        forbidden_value(at, "must specify at least one Object or External metric to support scaling to zero replicas"));
}

void check_policy(causes& out, const json::value& policy, const place& at) {
  constexpr std::int64_t period_max = 1800;
  if (auto type = policy["type"].as_string(); type != "Pods" && type != "Percent")
    out.push_back(not_supported(place(at, "type"), type, {"Percent", "Pods"}));
  for (auto member : {"value", "periodSeconds"})
    if (auto n = policy[member].as_integer(); n <= 0)
      out.push_back(invalid_value(place(at, member), n, "must be greater than zero"));
  if (auto n = policy["periodSeconds"].as_integer(); n > period_max)
    out.push_back(
        invalid_value(place(at, "periodSeconds"), n, fmt::format("must be less than or equal to {}", period_max)));
}

void check_scaling(causes& out, const json::value& rules, const place& at) {
  constexpr std::int64_t window_max = 3600;
  if (!rules.is_object()) return;
  auto& window = rules["stabilizationWindowSeconds"];
  const place of_window(at, "stabilizationWindowSeconds");
  if (window.as_integer() < 0) out.push_back(invalid_value(of_window, window, "must be greater than or equal to zero"));
  if (window.as_integer() > window_max)
    out.push_back(invalid_value(of_window, window, fmt::format("must be less than or equal to {}", window_max)));
  one_of(out, rules, at, "selectPolicy", {"Disabled", "Max", "Min"});
  need(out, rules, at, "policies", "must specify at least one Policy");
  for (std::size_t i = 0; i < rules["policies"].size(); ++i)
    check_policy(out, rules["policies"][i], place(at, "policies", i));
  if (!rules["tolerance"].is_null()) check_quantity(out, rules["tolerance"], place(at, "tolerance"));
}

void check(causes& out, const json::value& spec, version_rule of_target, version_rule of_objects) {
  const place at("spec"), of_max(at, "maxReplicas"), of_behavior(at, "behavior");
  auto &least = spec["minReplicas"], &most = spec["maxReplicas"];
  if (least.is_integer() && most.as_integer() < least.as_integer())
    out.push_back(invalid_value(of_max, most.as_integer(), "must be greater than or equal to `minReplicas`"));
  check_reference(out, spec["scaleTargetRef"], place(at, "scaleTargetRef"), of_target);
  check_metrics(out, spec, place(at, "metrics"), of_objects);
  for (auto rules : {"scaleUp", "scaleDown"}) check_scaling(out, spec["behavior"][rules], place(of_behavior, rules));
  if (least.as_integer() < 0)
    out.push_back(invalid_value(place(at, "minReplicas"), least, "must be greater than or equal to 0"));
  if (most.as_integer() == 0) out.push_back(required(of_max));
  if (most.as_integer() < 0) out.push_back(invalid_value(of_max, most, "must be greater than or equal to 1"));
}

version_rule rule_of_target(const json::value& spec) {
  return spec["scaleTargetRef"]["kind"].as_string() == "ReplicationController" ? version_rule::well_formed
                                                                               : version_rule::with_group;
}

void validate(causes& out, const json::value& o) {
  check(out, o["spec"], rule_of_target(o["spec"]), version_rule::well_formed);
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto of_target = rule_of_target(o["spec"]), of_objects = version_rule::well_formed;
  auto &target = o["spec"]["scaleTargetRef"], &before = old["spec"]["scaleTargetRef"];
  if (target["apiVersion"].as_string() == before["apiVersion"].as_string() &&
      target["kind"].as_string() == before["kind"].as_string())
    of_target = version_rule::any;
  auto& metrics = old["spec"]["metrics"];
  std::string buffer;
  for (std::size_t i = 0; i < metrics.size(); ++i)
    if (metrics[i]["type"].as_string() == "Object" &&
        !wrong_version(metrics[i]["object"]["describedObject"], version_rule::well_formed, buffer).empty())
      of_objects = version_rule::any;
  check(out, o["spec"], of_target, of_objects);
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  auto& status = o["status"];
  const place at("status");
  for (std::size_t i = 0; i < status["conditions"].size(); ++i)
    not_negative(out, status["conditions"][i], place(at, "conditions", i), "observedGeneration");
  for (auto member : {"currentReplicas", "desiredReplicas"}) not_negative(out, status, at, member);
}

}  // namespace

const kind_rules kinds::horizontal_pod_autoscalers{.group = "autoscaling",
                                                   .resource = "horizontalpodautoscalers",
                                                   .generation = true,
                                                   .validate = validate,
                                                   .validate_update = validate_update,
                                                   .validate_part = validate_part};

}  // namespace kedge::api
