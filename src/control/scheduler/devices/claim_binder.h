// claim_binder.h: gives a pod its devices before it gets its node:
//
//   plan ─▶ claim's finalizer ─▶ status.allocation and reservedFor, one write ─▶ drivers' conditions, where devices
//   have some ─▶ the pod may be bound
//
// What is written stays true when the pod isn't bound after all: the claim keeps its devices, and the next try finds
// them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/objects.h"
#include "control/scheduler/plugins/dynamic_resources.h"
#include "reactor/sync.h"

namespace kedge::control::scheduler {

class claim_binder {
 public:
  // Both must outlive it.
  claim_binder(api::objects& objects, cluster_view& cluster) noexcept : objects_(objects), cluster_(cluster) {}

  // Takes the plan's devices for given until write() has ended; shared ones get their shareIDs.
  void assume(device_plan& plan);
  // Takes that back.
  void forget(const device_plan& plan);
  // Writes the plan. Nothing of it is assumed any more afterwards. The error's words are for the pod's event.
  task<result<void>> write(pod_ref pod, device_plan plan);
  // Waits until the plan's devices are bound; an error when one can't be, or `timeout` passes.
  task<result<void>> bound(device_plan plan, std::chrono::seconds timeout);
  // The pod isn't bound after all.
  task<void> unreserve(pod_ref pod, device_plan plan);
  // Takes the claim's devices back, so that others may do.
  task<void> deallocate(device_claim_ref claim, pod_ref pod);
  // A claim ("namespace/name") changed, or is gone: who waits for it looks again.
  void changed(std::string_view key);

 private:
  task<result<void>> write_one(pod_ref pod, device_plan::one one);

  api::objects& objects_;
  cluster_view& cluster_;
  std::unordered_multimap<std::string, reactor::event*, string_hash, std::equal_to<>> waiting_;  // by claim
};

}  // namespace kedge::control::scheduler
