// proxied_network.h: connections through an HTTP proxy.
//
//   connection to an address, or a name that the proxy looks up ─▶ CONNECT host:port at the proxy ─▶ 200 ─▶ its bytes
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "reactor/stream.h"

namespace kedge::net::http {

struct proxy_settings {
  std::string url;       // http://user:password@host:port, https://…, or host:port
  std::string named_by;  // the flag or variable that says so, for errors
  // Whether an endpoint is reached without it; null: none but unix sockets.
  std::function<bool(const reactor::endpoint&)> directly = {};
};

// `below` outlives it. errc::invalid and errc::unsupported: the url is no proxy's; no password is in the message.
result<std::unique_ptr<reactor::network>> make_proxied_network(proxy_settings s, reactor::network& below);

}  // namespace kedge::net::http
