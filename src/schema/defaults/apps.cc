// apps/v1: pkg/apis/apps/v1/defaults.go
#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

void deployment(const target& t) {
  auto spec = t.inside("spec");
  spec.fill("replicas", 1);
  auto strategy = spec.inside("strategy");
  strategy.fill("type", "RollingUpdate");
  if (strategy["type"].as_string() == "RollingUpdate") {
    auto rolling = strategy.inside("rollingUpdate");
    rolling.fill("maxUnavailable", "25%");
    rolling.fill("maxSurge", "25%");
  }
  spec.fill("revisionHistoryLimit", 10);
  spec.fill("progressDeadlineSeconds", 600);
}

void daemon_set(const target& t) {
  auto spec = t.inside("spec");
  auto strategy = spec.inside("updateStrategy");
  strategy.fill("type", "RollingUpdate");
  if (strategy["type"].as_string() == "RollingUpdate") {
    auto rolling = strategy.inside("rollingUpdate");
    rolling.fill("maxUnavailable", 1);
    rolling.fill("maxSurge", 0);
  }
  spec.fill("revisionHistoryLimit", 10);
}

void stateful_set(const target& t) {
  auto spec = t.inside("spec");
  spec.fill("podManagementPolicy", "OrderedReady");
  auto strategy = spec.inside("updateStrategy");
  if (!strategy.has("type")) {
    strategy.fill("type", "RollingUpdate");
    strategy.inside("rollingUpdate");
  }
  if (strategy["type"].as_string() == "RollingUpdate" && strategy.has("rollingUpdate")) {
    strategy.inside("rollingUpdate").fill("partition", 0);
    strategy.inside("rollingUpdate").fill("maxUnavailable", 1);
  }
  auto retention = spec.inside("persistentVolumeClaimRetentionPolicy");
  retention.fill("whenDeleted", "Retain");
  retention.fill("whenScaled", "Retain");
  spec.fill("replicas", 1);
  spec.fill("revisionHistoryLimit", 10);
}

constexpr rule rules[] = {
    {"apps/v1.Deployment", deployment},
    {"apps/v1.DaemonSet", daemon_set},
    {"apps/v1.StatefulSet", stateful_set},
    {"apps/v1.ReplicaSet", [](const target& t) { t.inside("spec").fill("replicas", 1); }},
};

}  // namespace

std::span<const rule> apps_rules() { return rules; }

}  // namespace kedge::schema::defaults
