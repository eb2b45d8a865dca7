#include "control/scheduler/schedule_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "control/scheduler/cluster_view.h"
#include "control/scheduler/queue.h"

namespace kedge::control::scheduler {
namespace {

template <std::size_t N>
constexpr std::array<double, N> doubling(double first) {
  std::array<double, N> out{};
  for (auto& b : out) {
    b = first;
    first *= 2;
  }
  return out;
}

// kube-scheduler's.
constexpr auto of_attempts = doubling<15>(0.001);
constexpr auto of_waits = doubling<20>(0.01);
constexpr auto of_bindings = doubling<14>(0.1);
constexpr auto of_tries = doubling<5>(1);
constexpr auto of_victims = doubling<7>(1);

double seconds(duration d) { return std::max(0.0, std::chrono::duration<double>(d).count()); }

std::string_view name_of(schedule_metrics::result r) {
  switch (r) {
    case schedule_metrics::result::scheduled: return "scheduled";
    case schedule_metrics::result::unschedulable: return "unschedulable";
    case schedule_metrics::result::error: return "error";
  }
  return {};
}

}  // namespace

schedule_metrics::schedule_metrics(api::metrics* all) : all_(all) {
  if (!all) return;
  auto pending = [&](std::string_view queue) -> api::metric_cell& {
    return all->gauge("scheduler_pending_pods", "Number of pending pods, by the queue type.",
                      fmt::format("queue=\"{}\"", queue));
  };
  auto cached = [&](std::string_view type) -> api::metric_cell& {
    return all->gauge("scheduler_cache_size", "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
                      fmt::format("type=\"{}\"", type));
  };
  gauges_.emplace(gauges{.active = pending("active"),
                         .backoff = pending("backoff"),
                         .unschedulable = pending("unschedulable"),
                         .gated = pending("gated"),
                         .nodes = cached("nodes"),
                         .pods = cached("pods")});
}

// Who leads no longer has nobody waiting.
schedule_metrics::~schedule_metrics() {
  if (!gauges_) return;
  auto& g = *gauges_;
  for (auto* cell : {&g.active, &g.backoff, &g.unschedulable, &g.gated, &g.nodes, &g.pods}) cell->set(0);
}

void schedule_metrics::attempted(std::string_view profile, result r, duration took) {
  if (!all_) return;
  const auto labels = fmt::format("profile=\"{}\",result=\"{}\"", profile, name_of(r));
  all_->counter("scheduler_schedule_attempts_total",
                "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be "
                "scheduled, while 'error' means an internal scheduler problem.",
                labels)
      .add();
  all_->observations("scheduler_scheduling_attempt_duration_seconds",
                     "Scheduling attempt latency in seconds (scheduling algorithm + binding)", labels, of_attempts)
      .observe(seconds(took));
}

void schedule_metrics::searched(duration took) {
  if (!all_) return;
  all_->observations("scheduler_scheduling_algorithm_duration_seconds", "Scheduling algorithm latency in seconds", "",
                     of_attempts)
      .observe(seconds(took));
}

void schedule_metrics::placed(unsigned attempts, duration after) {
  if (!all_) return;
  constexpr unsigned told_apart = 15;
  const auto label =
      attempts >= told_apart ? fmt::format("attempts=\"{}+\"", told_apart) : fmt::format("attempts=\"{}\"", attempts);
  all_->observations("scheduler_pod_scheduling_sli_duration_seconds",
                     "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and "
                     "might involve multiple scheduling attempts.",
                     label, of_waits)
      .observe(seconds(after));
  all_->observations("scheduler_pod_scheduling_attempts", "Number of attempts to successfully schedule a pod.", "",
                     of_tries)
      .observe(attempts);
}

void schedule_metrics::preempted(std::size_t victims) {
  if (!all_) return;
  all_->counter("scheduler_preemption_attempts_total", "Total preemption attempts in the cluster till now", "").add();
  if (victims > 0)
    all_->observations("scheduler_preemption_victims",
                       "Number of selected preemption victims for preemption initiated by a single pod", "", of_victims)
        .observe(static_cast<double>(victims));
}

void schedule_metrics::devices_bound(std::string_view profile, std::string_view driver, std::string_view status,
                                     duration took) {
  if (!all_) return;
  const auto labels = fmt::format("driver=\"{}\",profile=\"{}\",status=\"{}\"", driver, profile, status);
  all_->counter("scheduler_dra_bindingconditions_allocations_total",
                "Number of allocations using devices with BindingConditions, counted per driver per scheduling attempt",
                labels)
      .add();
  all_->observations("scheduler_dra_bindingconditions_wait_duration_seconds",
                     "Time in seconds spent waiting for BindingConditions to be satisfied during PreBind.", labels,
                     of_bindings)
      .observe(seconds(took));
}

void schedule_metrics::claim_made(bool done) {
  if (!all_) return;
  all_->counter("dynamic_resource_allocation_resourceclaim_creates_total",
                "Number of ResourceClaims creation requests, categorized by creation status, admin access, and owning "
                "API group and kind (either Pod or scheduling.k8s.io/PodGroup)",
                fmt::format("admin_access=\"false\",owner_api_group=\"\",owner_api_kind=\"Pod\",status=\"{}\"",
                            done ? "success" : "failure"))
      .add();
}

void schedule_metrics::tell(const queue& waiting, const cluster_view& cluster) {
  if (!gauges_) return;
  auto set = [](api::metric_cell& cell, std::size_t n) { cell.set(static_cast<std::int64_t>(n)); };
  set(gauges_->active, waiting.active());
  set(gauges_->backoff, waiting.backing_off());
  set(gauges_->unschedulable, waiting.unschedulable());
  set(gauges_->gated, waiting.gated());
  set(gauges_->nodes, cluster.nodes().size());
  set(gauges_->pods, cluster.pods());
}

}  // namespace kedge::control::scheduler
