// summary.h: /stats/summary (k8s.io/kubelet stats/v1alpha1) of what a node measured. Pure, as metrics.h is.
#pragma once

#include <map>
#include <string>

#include "json/value.h"
#include "node/usage/usage.h"
#include "node/volumes/csi_volumes.h"

namespace kedge::node {

// What a container wrote to its own layer, by its id, as the runtime keeps count.
struct layer_usage {
  std::uint64_t bytes = 0, inodes = 0;
};
using layer_usages = std::map<std::string, layer_usage, std::less<>>;

// `brief`: processor and memory alone (only_cpu_and_memory=true).
json::value usage_summary(const node_usage& u, const std::string& node_name, const layer_usages& layers, bool brief,
                          const std::vector<claim_figures>& volumes = {});

}  // namespace kedge::node
