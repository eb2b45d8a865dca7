// host_dns.h: the resolvers that pods get of their machine.
#pragma once

#include <string>

#include "node/runtime/pod_runtime.h"

namespace kedge::node {

// What K3s gives its kubelet as resolv.conf: `told`, where that is a file, else the machine's where its servers can be
// reached from a pod, else public ones. Blocking.
dns_settings usable_dns(const std::string& told);

}  // namespace kedge::node
