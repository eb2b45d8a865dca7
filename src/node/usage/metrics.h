// metrics.h: what a node measured, as Prometheus' text by the names of the kubelet and of cAdvisor. Pure, and as long
// as the node has containers: to be made on the offload pool.
#pragma once

#include <string>

#include "node/machine/system_info.h"
#include "node/usage/usage.h"

namespace kedge::node {

// /metrics/resource: processor time and memory of node, pods and containers. null: the measuring failed.
std::string resource_metrics(const node_usage* u);
// /metrics/cadvisor.
std::string cadvisor_metrics(const node_usage& u, const system_info& machine);

}  // namespace kedge::node
