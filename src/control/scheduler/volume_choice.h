// volume_choice.h: which volumes a pod's claims get on a node, and why the node won't do: the decisions of
// kube-scheduler's volume binder. Pure.
//
//   claims ─▶ bound: their volumes must be reachable │ unbound, immediate: the binder's, the pod waits
//          └▶ unbound, waiting for a consumer: the smallest volume that fits │ else its class must provision there
#pragma once

#include "control/scheduler/cluster_view.h"
#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {

struct pod_claims {
  std::vector<claim_ref> bound, waiting, immediate;
};

// A claim that is gone, lost, going, or another pod's.
verdict check_claims(const pod_view& pod, const storage_view& storage);
// Of a pod that passed check_claims().
pod_claims claims_of(const pod_view& pod, const storage_view& storage);

struct volumes_found {
  verdict why;
  volume_plan plan;  // when it fits
};
volumes_found find_volumes(const pod_claims& claims, const node_view& node, const storage_view& storage);

// Whether the pod uses the claim.
bool uses_claim(const pod_view& pod, std::string_view ns, std::string_view name) noexcept;

}  // namespace kedge::control::scheduler
