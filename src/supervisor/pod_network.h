// pod_network.h: addresses as nodes and pods have them, for an HTTP client: "node/address", the node empty when it
// isn't known. Whatever the objects say, only what may be another host's is dialled (node_dialer.h).
#pragma once

#include "supervisor/node_dialer.h"

namespace kedge::supervisor {

struct pod_network final : reactor::network {
  node_dialer& dialer;
  explicit pod_network(node_dialer& d) : dialer(d) {}
  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override {
    auto slash = to.address.find('/');
    return dialer.dial_proxied(to.address.substr(slash + 1), to.port, to.address.substr(0, slash));
  }
  result<std::unique_ptr<reactor::listener>> listen(const reactor::endpoint&, const reactor::listen_options&) override {
    return fail(errc::unsupported, "nobody listens at a pod's");
  }
};

}  // namespace kedge::supervisor
