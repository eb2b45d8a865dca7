// dial.h: TCP to "host:port", where the host may be a name that is looked up now.
#pragma once

#include <string>

#include "reactor/stream.h"

namespace kedge::tunnel {

struct host_port {
  std::string host;  // without brackets
  std::uint16_t port = 0;
};
// "10.0.0.1:6443", "[fd00::1]:6443", "kube.example:443".
result<host_port> split_host_port(std::string_view text);

// Tries each address of a name in the resolver's order. The caller sets the deadline.
task<result<std::unique_ptr<reactor::stream>>> dial_tcp(reactor::network& network, std::string address);

// The client's end of a stream: copies both ways until one ends, then ends the other. There is no half-close: the first
// end of either direction closes both, as remotedialer does.
class tunnel_stream;
task<void> relay(std::unique_ptr<tunnel_stream> tunnel, std::unique_ptr<reactor::stream> local);

// The same for any two streams: returns when either direction has ended and what it carried has been sent.
task<void> splice(reactor::stream& a, reactor::stream& b);

}  // namespace kedge::tunnel
