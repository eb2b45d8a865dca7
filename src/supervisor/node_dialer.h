// node_dialer.h: how this server reaches a node's kubelet and its pods: through the node's tunnel where the egress mode says
// so, wherever that tunnel ends.
//
//   kubelet of a node ─▶ own tunnel ─▶ else a peer's: CONNECT node:port at every other server, the first that has one
//                                   ─▶ else an own one that is silent ─▶ else (this server's own node) loopback
//   address of a pod  ─▶ modes pod and cluster: the tunnel of the node that has it; else, and without one: directly
//
// | --egress-selector-mode | kubelet | pods and services |
// | disabled               | direct  | direct            |
// | agent                  | tunnel  | direct            |
// | pod, cluster           | tunnel  | tunnel            |
//
// One object a core.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/objects.h"
#include "net/http/client.h"
#include "supervisor/config.h"
#include "tunnel/server.h"

namespace kedge::supervisor {

class node_dialer {
 public:
  struct parts {
    const config& settings;
    tunnel::server& tunnels;
    api::objects& objects;
    std::shared_ptr<net::tls_client_context> peers;  // how other servers know this one; null: no relaying
    reactor::network* network = nullptr;             // null: this machine's
  };
  explicit node_dialer(parts p);

  // The kubelet's side of a node: its own port, or containerd's for streams. errc::unavailable: no way there.
  task<result<std::unique_ptr<reactor::stream>>> dial_kubelet(std::string node, std::uint16_t port, bool may_relay = true);
  // An address of the cluster, which `node` has when that is known.
  task<result<std::unique_ptr<reactor::stream>>> dial_address(std::string address, std::uint16_t port, std::string node = {});
  // What an egress proxy is asked for: "node:port" or "address:port".
  task<result<std::unique_ptr<reactor::stream>>> dial_target(std::string target, bool may_relay);

  // Other servers, as the endpoints of default/kubernetes have them.
  std::vector<reactor::endpoint> peers() const;

 private:
  struct owner {
    std::string node;
    bool is_node = false;          // the address is the node's own, not a pod's
    std::uint16_t kubelet_port = 0;
  };
  owner owner_of(const std::string& address) const;
  bool tunnels_pods_of(const std::string& node) const;
  task<result<std::unique_ptr<reactor::stream>>> dial_direct(std::string address, std::uint16_t port);
  task<result<std::unique_ptr<reactor::stream>>> dial_through_peers(std::string node, std::uint16_t port);

  parts parts_;
  net::http::client http_;
};

// The port of a Node's kubelet, as its status says.
std::uint16_t kubelet_port_of(const json::value& node);
// The address at which a node is dialled directly; empty without one.
std::string address_of(const json::value& node);

// Set on a CONNECT from another server: it isn't passed on once more.
inline constexpr std::string_view relayed_header = "X-Kedge-Relayed";

}  // namespace kedge::supervisor
