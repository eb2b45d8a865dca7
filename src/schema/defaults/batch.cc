// batch/v1: pkg/apis/batch/v1/defaults.go
#include <limits>

#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

void job(const target& t) {
  auto spec = t.inside("spec");
  if (!spec.has("completions") && !spec.has("parallelism")) spec.fill("completions", 1);
  spec.fill("parallelism", 1);
  spec.fill("backoffLimit", spec.has("backoffLimitPerIndex") ? std::numeric_limits<std::int32_t>::max() : 6);
  auto labels = spec["template"]["metadata"]["labels"];
  if (labels.is_object() && t["metadata"]["labels"].empty()) t.inside("metadata").set("labels", labels);
  auto filled = t.inside("spec");
  filled.fill("completionMode", "NonIndexed");
  filled.fill("suspend", false);
  filled.fill("podReplacementPolicy", filled.has("podFailurePolicy") ? "Failed" : "TerminatingOrFailed");
  filled.fill("manualSelector", false);
}

void cron_job(const target& t) {
  auto spec = t.inside("spec");
  spec.fill("concurrencyPolicy", "Allow");
  spec.fill("suspend", false);
  spec.fill("successfulJobsHistoryLimit", 3);
  spec.fill("failedJobsHistoryLimit", 1);
}

constexpr rule rules[] = {
    {"batch/v1.Job", job},
    {"batch/v1.CronJob", cron_job},
    {"batch/v1.PodFailurePolicyOnPodConditionsPattern", [](const target& t) { t.fill_zero("status", "True"); }},
};

}  // namespace

std::span<const rule> batch_rules() { return rules; }

}  // namespace kedge::schema::defaults
