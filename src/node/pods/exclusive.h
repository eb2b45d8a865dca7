// exclusive.h: what containers of Guaranteed pods are to have of the node for themselves: whole CPUs, memory of certain
// NUMA nodes. In the order in which the pod's containers begin. Pods with resources as a whole have none (the kubelet's
// PodLevelResourceManagers is off). Pure.
#pragma once

#include <vector>

#include "json/value.h"
#include "node/cpus/cpu_ledger.h"
#include "node/numa/memory_ledger.h"

namespace kedge::node {

std::vector<cpu_need> cpu_needs_of(const json::value& pod);
std::vector<memory_need> memory_needs_of(const json::value& pod);

}  // namespace kedge::node
