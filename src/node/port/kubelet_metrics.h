// kubelet_metrics.h: /metrics and /metrics/probes of the kubelet's port: what this agent counts of itself and its pods,
// by the kubelet's names.
#pragma once

#include <string>

#include "base/exposition.h"
#include "node/machine/node_stats.h"
#include "node/pods/manager.h"

namespace kedge::node {

void add_pod_counts(exposition& out, const pod_manager& pods);
void add_process(exposition& out, const node_stats& s);
std::string probe_metrics(const pod_manager& pods, const node_stats& s);

}  // namespace kedge::node
