// settings.h: what pods have of their node: from its configuration, its cluster and the machine.
#pragma once

#include "node/config.h"
#include "node/join/registration.h"
#include "node/machine/system_info.h"
#include "node/pods/configs.h"
#include "reactor/task.h"

namespace kedge::node {

// Reads the machine's control groups and resolvers through offload. All outlive the task.
task<void> take_settings(pod_settings& into, const agent_config& config, const cluster_config& cluster,
                         const system_info& machine);

}  // namespace kedge::node
