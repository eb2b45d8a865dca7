#include "control/eviction_metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace kedge::control {
namespace {

constexpr double bounds[] = {0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 30, 60, 120, 180, 240};

}  // namespace

eviction_metrics::eviction_metrics(api::metrics* all, std::string_view controller, std::string_view in_names,
                                   std::string_view span) {
  if (!all) return;
  deletions_ = &all->counter(fmt::format("{}_pod_deletions_total", in_names),
                             fmt::format("Total number of Pods deleted by {} since its start.", controller), "");
  late_ = &all->observations(
      fmt::format("{}_pod_deletion_duration_seconds", in_names),
      fmt::format("Latency, in seconds, between the time when a {} deletion via {}.", span, controller), "", bounds);
}

void eviction_metrics::deleted(duration late) {
  if (!deletions_) return;
  deletions_->add();
  late_->observe(std::max(0.0, std::chrono::duration<double>(late).count()));
}

}  // namespace kedge::control
