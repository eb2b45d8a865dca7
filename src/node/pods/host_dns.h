// host_dns.h: the resolvers of the machine that its pods may ask.
#pragma once

#include <string>

#include "node/runtime/pod_runtime.h"

namespace kedge::node {

// What K3s gives its kubelet as resolv.conf: the machine's where its servers can be reached from a pod. `told`: a file
// that stands for it; empty: none does. Reads files: through offload.
dns_settings usable_dns(const std::string& told);

}  // namespace kedge::node
