// conntrack_limits.h: how many connections the kernel remembers, and for how long, as kube-proxy sets it: a machine's
// own limits are too few for a node, and five days for a connection that died in silence too long.
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"
#include "node/kube_proxy_settings.h"

namespace kedge::node {

// 0: whatever the machine has.
std::uint64_t wanted_connections(const kube_proxy_settings& s, unsigned processors) noexcept;
// More connections than wanted stay so. What can't be set (in a network namespace of its own a node may set the times
// alone) is the error; the rest is set all the same. Blocks.
result<void> apply_conntrack_limits(const kube_proxy_settings& s);

struct tracked_connections {
  std::uint64_t now = 0, most = 0;
};
// nullopt: the kernel tracks none. Blocks.
std::optional<tracked_connections> read_tracked_connections();

// Tells when the kernel's memory of connections fills, which drops new ones, and when it is over.
class conntrack_fullness {
 public:
  // true: full from now on; false: no longer; nullopt: as before.
  std::optional<bool> see(const tracked_connections& c) noexcept;

 private:
  bool full_ = false;
};

}  // namespace kedge::node
