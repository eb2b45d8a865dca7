// node_dialer.h: how this server reaches a node's kubelet and its pods: through the node's tunnel where the egress mode
// says so, wherever that tunnel ends.
//
//   kubelet of a node ─▶ own tunnel ─▶ else a peer's: CONNECT node:port at every other server, the first that has one
//                                   ─▶ else an own one that is silent; (this server's own node: else loopback)
//   address of a pod  ─▶ modes pod and cluster: the tunnel of the node that has it; else, and without one: directly
//   address of an object that anybody may write (for proxies) ─▶ the same, when it can be another host's at all
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

  // Who this server is to the others from now on.
  void use(std::shared_ptr<net::tls_client_context> peers) {
    parts_.peers = std::move(peers);
    http_.forget_idle();
  }

  // One way to a node's kubelet.
  struct way {
    enum class kind : unsigned char { tunnel, peers, direct } by = kind::direct;
    tunnel::server::session_info through = {};  // of a tunnel
    // Tells it from others, and from a tunnel that stood before: a connection kept of one is none of another.
    std::string id() const;
  };
  // Those that stand now, the likeliest first; one that may be dead stands last.
  std::vector<way> ways_to(const std::string& node) const;
  // The kubelet's side of a node, its own port or containerd's for streams, on one way. errc::unavailable: it leads
  // nowhere. A tunnel answers at once; whether anybody is there shows in what comes back.
  task<result<std::unique_ptr<reactor::stream>>> dial(way w, std::string node, std::uint16_t port);
  // Nothing came back on that way, while another led there.
  void doubt(const way& w);
  // On the first way that leads anywhere.
  task<result<std::unique_ptr<reactor::stream>>> dial_kubelet(std::string node, std::uint16_t port,
                                                              bool may_relay = true);
  // For proxies: an address that an object gives, or a name (of a Node that has no address). errc::forbidden unless it
  // may be another host's: who writes statuses and endpoints must not reach what listens on this machine only.
  task<result<std::unique_ptr<reactor::stream>>> dial_proxied(std::string host, std::uint16_t port, std::string node);
  // An address of the cluster, which `node` has when that is known.
  task<result<std::unique_ptr<reactor::stream>>> dial_address(std::string address, std::uint16_t port,
                                                              std::string node = {});
  // What an egress proxy is asked for: "node:port" or "address:port".
  task<result<std::unique_ptr<reactor::stream>>> dial_target(std::string target, bool may_relay);

  // The family that services have first.
  bool prefers_v6() const;
  // Other servers, as the endpoints of default/kubernetes have them.
  std::vector<reactor::endpoint> peers() const;

 private:
  struct owner {
    std::string node;
    bool is_node = false;  // the address is the node's own, not a pod's
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
