// preemption.h: which pods of less priority would have to go so that a pod fits (kube-scheduler's DefaultPreemption).
// Pure.
#pragma once

#include "control/scheduler/cycle.h"

namespace kedge::control::scheduler {

// The order of victims: by priority, then who began first.
bool more_important(const pod_ref& a, const pod_ref& b);

struct preemption_candidate {
  const node_view* node = nullptr;
  std::vector<pod_ref> victims;  // the most important first
  std::size_t violations = 0;    // of disruption budgets
};

struct preemption_candidates {
  bool unfinished = false;                // as outcome::unfinished
  std::vector<preemption_candidate> all;  // enough of them, as the profile says
  diagnosis why;                          // of the nodes that are none
};
// The fewest victims of each node on which the removal of pods may help.
preemption_candidates find_candidates(const profile& by, const pod_view& pod, const outcome& refused,
                                      const cluster_view& cluster, random_source& random);

struct preemption {
  bool unfinished = false;         // as outcome::unfinished
  preemption_candidate chosen;     // without a node: none helps; see message
  bool clears_nomination = false;  // the pod's nomination helps no longer
  std::string message;             // for the diagnosis, with "preemption: " in front
};

// Whether the pod may have others removed for it now; else the reason.
std::string_view why_not_preempting(const pod_view& pod, const outcome& refused, const cluster_view& cluster);
// Of those that there are.
preemption choose_victims(preemption_candidates found);
// All of it.
preemption find_victims(const profile& by, const pod_view& pod, const outcome& refused, const cluster_view& cluster,
                        random_source& random);

}  // namespace kedge::control::scheduler
