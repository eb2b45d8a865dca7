// volume_binder.h: gives a pod its volumes before it gets its node:
//
//   plan ─▶ volume.spec.claimRef, claim's selected-node ─▶ the binder's and the provisioner's work ─▶ all claims bound
//
// A failure undoes nothing that is written: the next try finds the claims as they are then.
#pragma once

#include <unordered_map>

#include "api/objects.h"
#include "control/scheduler/cluster_view.h"
#include "reactor/sync.h"

namespace kedge::control::scheduler {

class volume_binder {
 public:
  // Both must outlive it.
  volume_binder(api::objects& objects, cluster_view& cluster) noexcept : objects_(objects), cluster_(cluster) {}

  // Writes the plan. The error's words are for the pod's event.
  task<result<void>> write(volume_plan plan, std::string node);
  // Waits until the plan's claims are bound and reachable from `node`; an error when they can't be any more, the pod is
  // gone, or `deadline` passes.
  task<result<void>> bound(pod_ref pod, volume_plan plan, std::string node, time_point deadline);
  // A claim or a pod ("namespace/name") or a volume ("name") changed, or is gone: who waits for it looks again.
  void changed(std::string_view key);

 private:
  enum class state : unsigned char { waiting, bound };
  class waiting;
  result<state> look(const pod_view& pod, const volume_plan& plan, const std::string& node) const;

  api::objects& objects_;
  cluster_view& cluster_;
  std::unordered_multimap<std::string, reactor::event*, string_hash, std::equal_to<>>
      waiting_;  // by what is waited for
};

}  // namespace kedge::control::scheduler
