// claim_binder.h: gives a pod its devices before it gets its node:
//
//   plan ─▶ claim's finalizer ─▶ status.allocation and reservedFor, one write ─▶ drivers' conditions, where devices
//   have some ─▶ the pod may be bound
//
// What is written stays true when the pod isn't bound after all: the claim keeps its devices, and the next try finds
// them. The claim for a pod's extended resources is made here first, told to the pod's status last, and goes again when
// the pod isn't bound.
//
// Devices are free for others only when it is certain that no claim has them: a write whose outcome isn't known is
// repeated until it is.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/objects.h"
#include "control/scheduler/plugins/dynamic_resources.h"
#include "control/scheduler/schedule_metrics.h"
#include "reactor/sync.h"

namespace kedge::control::scheduler {

class claim_binder {
 public:
  // All must outlive it.
  claim_binder(api::objects& objects, cluster_view& cluster, schedule_metrics& measures) noexcept
      : objects_(objects), cluster_(cluster), measures_(measures) {}

  // Takes the plan's devices for given until write() has ended; shared ones get their shareIDs.
  void assume(device_plan& plan);
  // Takes that back.
  void forget(const device_plan& plan);
  // Writes the plan. Nothing of it is assumed any more afterwards. The error's words are for the pod's event. Until it
  // ends it is told in `made` which claim was made for the pod's extended resources.
  task<result<void>> write(pod_ref pod, device_plan plan, device_claim_ref& made);
  // Waits until the plan's devices are bound; an error when one can't be, or `timeout` passes.
  task<result<void>> bound(device_plan plan, std::chrono::seconds timeout);
  // The pod isn't bound after all.
  task<void> unreserve(pod_ref pod, device_plan plan, device_claim_ref made);
  // A claim that was made for extended resources, which nobody needs any more.
  task<void> remove(device_claim_ref claim);
  // Takes the claim's devices back, so that others may do.
  task<void> deallocate(device_claim_ref claim, pod_ref pod);
  // A claim ("namespace/name") changed, or is gone: who waits for it looks again.
  void changed(std::string_view key);

 private:
  task<result<void>> write_one(pod_ref pod, device_plan::one one);
  task<result<void>> reserve(pod_ref pod, device_plan::one one);
  task<result<device_claim_ref>> make(pod_ref pod, const device_plan::made& what);
  task<result<void>> tell(pod_ref pod, const device_plan::made& what, std::string name);

  api::objects& objects_;
  cluster_view& cluster_;
  schedule_metrics& measures_;
  std::unordered_multimap<std::string, reactor::event*, string_hash, std::equal_to<>> waiting_;  // by claim
};

}  // namespace kedge::control::scheduler
