// trust_anchors.h: what ClusterTrustBundles say, as it is projected into a volume.
#pragma once

#include <string>

#include "json/value.h"
#include "node/pods/cluster.h"
#include "reactor/task.h"

namespace kedge::node {

// The certificates of all these bundles as PEM, each once, nothing else that was in them. In an order that doesn't
// depend on the bundles', so that files change only when certificates do.
result<std::string> trust_anchors_of(const json::array& bundles);

// Those of a clusterTrustBundle source: the bundle that it names, or all of its signer that its selector takes. None
// where there are none and it is optional; errors are the kubelet's.
task<result<std::string>> trust_anchors_for(json::value source, pod_cluster& cluster);

}  // namespace kedge::node
