// schedule_metrics.h: what /metrics tells of the scheduler, under kube-scheduler's names. Nothing is counted without a
// table to count in.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/metrics/metrics.h"
#include "base/time.h"

namespace kedge::control::scheduler {

class cluster_view;
class queue;

class schedule_metrics {
 public:
  // `all` may be null; else it outlives this.
  explicit schedule_metrics(api::metrics* all);
  ~schedule_metrics();
  schedule_metrics(const schedule_metrics&) = delete;
  schedule_metrics& operator=(const schedule_metrics&) = delete;

  enum class result : unsigned char { scheduled, unschedulable, error };
  // An attempt has ended, so long after it began.
  void attempted(std::string_view profile, result r, duration took);
  // How long it took to find a node, or none.
  void searched(duration took);
  // A pod has its node, so long after it came, at that attempt.
  void placed(unsigned attempts, duration after);
  // Preemption was tried; victims: how many pods it ends.
  void preempted(std::size_t victims);
  // Devices that had to be bound first are, or aren't.
  void devices_bound(std::string_view profile, std::string_view driver, std::string_view status, duration took);
  // A claim for extended resources was made, or not.
  void claim_made(bool done);
  // How many wait where, and what the scheduler knows.
  void tell(const queue& waiting, const cluster_view& cluster);

 private:
  api::metrics* all_;
  struct gauges {
    api::metric_cell &active, &backoff, &unschedulable, &gated, &nodes, &pods;
  };
  std::optional<gauges> gauges_;
};

}  // namespace kedge::control::scheduler
