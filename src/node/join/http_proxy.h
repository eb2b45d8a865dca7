// http_proxy.h: an agent's way to its servers through an HTTP proxy, where the machine has no other
// (K3S_AGENT_HTTP_PROXY_ALLOWED, HTTPS_PROXY, NO_PROXY: as Go and so K3s read them).
//
//   connection to a server ─▶ CONNECT address:port at the proxy ─▶ 200 ─▶ its bytes, TLS of our own inside
//
// Loopback, unix sockets and what NO_PROXY names go directly. Names of servers are looked up here, not by the proxy.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "node/config.h"
#include "reactor/stream.h"

namespace kedge::node {

// `variable`: of the environment; upper case counts before lower case. Nullopt: K3S_AGENT_HTTP_PROXY_ALLOWED is not
// true, or no proxy is named.
std::optional<proxy_environment> proxy_of(const std::function<std::optional<std::string>(std::string_view)>& variable);

// Whether that host (a name or an address, without a port) is to be reached directly.
bool goes_directly(std::string_view host, std::uint16_t port, std::string_view no_proxy);

// Connects through the proxy. `below` outlives it. errc::invalid: what the environment says is no proxy; no password is
// in the message.
result<std::unique_ptr<reactor::network>> make_proxied_network(const proxy_environment& e, reactor::network& below);

}  // namespace kedge::node
