// limits.h: bounds of what enforces policies.
#pragma once

#include <cstddef>

#include "base/time.h"

namespace kedge::node {

using namespace std::chrono_literals;

// How long a pod's first container waits for its pod's rules. They stand within a second of a pod's sandbox; only a
// server that is away since this agent started, or a kernel that takes no rules, makes it longer, and then a node that
// runs pods is worth more than one that runs none.
inline constexpr duration admit_wait_max = 30s;
// Definitions of policies of the whole cluster are brought once in a cluster's life.
inline constexpr duration cluster_kinds_look_interval = 10s;
// A pod that was started here and that the API never showed is forgotten after this.
inline constexpr duration unseen_pod_kept = 10min;

}  // namespace kedge::node
