// assignment.h: which CPUs a container gets for itself: the kubelet's choice (pkg/kubelet/cm/cpumanager), CPU for CPU,
// since either may go on with what the other gave. Pure.
#pragma once

#include "node/cpus/topology.h"

namespace kedge::node {

struct cpu_preferences {
  bool spread = false;     // over cores, rather than whole cores
  bool by_cache = false;   // in as few last caches as can be
  bool over_numa = false;  // evenly over NUMA nodes where one hasn't enough
  bool by_socket = false;  // these of one socket
  int group = 1;           // with over_numa: so many of a NUMA node at once
};

// errc::exhausted: there aren't so many.
result<cpu_set> choose_cpus(const cpu_topology& topology, const cpu_set& available, int count,
                            const cpu_preferences& preferences);

}  // namespace kedge::node
