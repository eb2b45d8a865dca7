// preemption.h: which pods of less priority would have to go so that a pod fits (kube-scheduler's DefaultPreemption).
// Pure.
#pragma once

#include "control/scheduler/cycle.h"

namespace kedge::control::scheduler {

struct preemption {
  const node_view* node = nullptr;  // null: none helps; see message
  std::vector<pod_ref> victims;     // the most important first
  std::size_t violations = 0;       // of disruption budgets
  bool clears_nomination = false;   // the pod's nomination helps no longer
  std::string message;              // for the diagnosis, with "preemption: " in front
};

preemption find_victims(const profile& by, const pod_view& pod, const outcome& refused, const cluster_view& cluster,
                        random_source& random);

}  // namespace kedge::control::scheduler
