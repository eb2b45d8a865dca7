// conntrack_limits.h: how many connections the kernel remembers, and for how long, as kube-proxy sets it: a machine's
// own limits are too few for a node, and five days for a connection that died in silence too long.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "node/kube_proxy_settings.h"

namespace kedge::node {

// 0: whatever the machine has.
std::uint64_t wanted_connections(const kube_proxy_settings& s, unsigned processors) noexcept;
// More connections than wanted stay so. What can't be set (in a network namespace of its own a node may set the times
// alone) is the error; the rest is set all the same. Blocks.
result<void> apply_conntrack_limits(const kube_proxy_settings& s);

}  // namespace kedge::node
