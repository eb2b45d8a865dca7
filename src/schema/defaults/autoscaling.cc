// autoscaling/v1, v2: pkg/apis/autoscaling/v2/defaults.go
#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

json::value scaling_policy(std::string_view type, int value) {
  return json::object{{"type", type}, {"value", value}, {"periodSeconds", 15}};
}

void autoscaler(const target& t) {
  auto spec = t.inside("spec");
  spec.fill("minReplicas", 1);
  if (spec["metrics"].empty())
    spec.set("metrics",
             json::array{json::object{
                 {"type", "Resource"},
                 {"resource",
                  json::object{{"name", "cpu"},
                               {"target", json::object{{"type", "Utilization"}, {"averageUtilization", 80}}}}}}});
  if (!spec.has("behavior")) return;
  auto behavior = spec.inside("behavior");
  auto up = behavior.inside("scaleUp");
  up.fill("stabilizationWindowSeconds", 0);
  up.fill("selectPolicy", "Max");
  up.fill("policies", json::array{scaling_policy("Pods", 4), scaling_policy("Percent", 100)});
  auto down = behavior.inside("scaleDown");
  down.fill("selectPolicy", "Max");
  down.fill("policies", json::array{scaling_policy("Percent", 100)});
}

constexpr rule rules[] = {
    {"autoscaling/v1.HorizontalPodAutoscaler", [](const target& t) { t.inside("spec").fill("minReplicas", 1); }},
    {"autoscaling/v2.HorizontalPodAutoscaler", autoscaler},
};

}  // namespace

std::span<const rule> autoscaling_rules() { return rules; }

}  // namespace kedge::schema::defaults
