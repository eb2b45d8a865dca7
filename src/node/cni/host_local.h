// host_local.h: which addresses of a node's range are taken, as files: one named after each address, holding
// "<container id>\r\n<interface>", and last_reserved_ip.<n>, behind which the search goes on, so that an address rests
// before it is given again.
#pragma once

#include "node/cni/plugin.h"

namespace kedge::node::cni {

// As plugins of their own, and for bridge: r.config["ipam"] says the ranges. The result has `ips` and `routes`.
result<json::value> host_local_add(const request& r);
result<void> host_local_del(const request& r);
result<void> host_local_check(const request& r);
result<void> host_local_gc(const request& r);

}  // namespace kedge::node::cni
