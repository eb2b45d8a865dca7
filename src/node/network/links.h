// links.h: links, addresses, routes and neighbours of one network namespace, as rtnetlink tells and takes them. Blocks
// (netlink.h).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "node/network/netlink.h"

namespace kedge::node {

using mac_address = std::array<unsigned char, 6>;
std::string mac_text(const mac_address& m);  // "02:42:0a:2a:00:01"
std::optional<mac_address> parse_mac(std::string_view text);

// An address with the length of its network's prefix: "10.42.0.1/24".
struct interface_address {
  ip_address address;
  unsigned prefix = 0;
  std::string text() const { return address.text() + "/" + std::to_string(prefix); }
  friend bool operator==(const interface_address&, const interface_address&) noexcept = default;
};
std::optional<interface_address> parse_interface_address(std::string_view text);

struct link_info {
  int index = 0;
  std::string name;
  std::string kind;  // "bridge", "veth", "vxlan"; empty for hardware
  mac_address mac{};
  unsigned mtu = 0;
  int master = 0;  // of a bridge's port
  bool up = false, loopback = false;
  // Of a vxlan device.
  std::uint32_t vni = 0;
  std::uint16_t port = 0;
  int lower = 0;  // the interface that it sends on
  std::optional<ip_address> local;
  bool learning = false;
};

struct vxlan_options {
  std::string name;
  std::uint32_t vni = 1;
  std::uint16_t port = 8472;
  int lower = 0;
  ip_address local;
  unsigned mtu = 1450;
  mac_address mac{};  // all zero: the kernel chooses
};

struct route {
  ip_range to;
  std::optional<ip_address> via;
  int link = 0;               // 0: any (only where `via` says it)
  bool onlink = false;        // `via` is reached through `link` though no address of it says so
  std::uint8_t protocol = 4;  // RTPROT_STATIC; who made it
  friend bool operator==(const route&, const route&) noexcept = default;
};

// How an address of the overlay is reached: an ARP/NDP entry (`address` → `mac`), or with `forwarding` an entry of the
// link's forwarding table (`mac` → the host `address`).
struct neighbour {
  int link = 0;
  ip_address address;
  mac_address mac{};
  bool forwarding = false;
  friend bool operator==(const neighbour&, const neighbour&) noexcept = default;
};

class links {
 public:
  // Of the calling thread's namespace.
  static result<links> open();

  result<link_info> find(const std::string& name);  // errc::not_found
  result<link_info> find(int index);
  result<std::vector<link_info>> all();

  result<void> add_bridge(const std::string& name, unsigned mtu, const mac_address& mac);
  // Two ends of a cable: `name` here, `peer` in the namespace that `peer_namespace` (a descriptor) is; -1: here too.
  result<void> add_veth(const std::string& name, const std::string& peer, int peer_namespace, unsigned mtu,
                        const std::optional<mac_address>& peer_mac = std::nullopt);
  result<void> add_vxlan(const vxlan_options& o);
  result<void> remove(int link);
  result<void> set_up(int link);
  result<void> set_mtu(int link, unsigned mtu);
  result<void> set_master(int link, int master);
  // A bridge's port: packets may leave through the port by which they came (a pod that asks a Service which leads to
  // itself).
  result<void> set_hairpin(int link);

  result<std::vector<interface_address>> addresses(int link);
  // Without duplicate address detection, so that a pod can use it at once. It being there is fine.
  result<void> add_address(int link, const interface_address& a);
  result<void> remove_address(int link, const interface_address& a);
  // Those of all links.
  struct address_of_link {
    int link = 0;
    interface_address at;
    std::optional<std::chrono::seconds> remaining;  // until the kernel takes it away; nullopt: never
  };
  result<std::vector<address_of_link>> all_addresses();
  // The address alone, without its network, for so long: the kernel takes it away then unless it is held again
  // meanwhile. It is no connection's own source, and needs no duplicate address detection.
  result<void> hold_address(int link, const ip_address& a, std::chrono::seconds lifetime);

  // The main table's, of both families, of the protocol given.
  result<std::vector<route>> routes(std::uint8_t protocol);
  result<void> set_route(const route& r);     // made, or changed
  result<void> remove_route(const route& r);  // its not being there is fine
  // The interface and source address by which `to` would be reached.
  struct way {
    int link = 0;
    std::optional<ip_address> source, via;
  };
  result<way> way_to(const ip_address& to);

  // Those that are there for good, of one link.
  result<std::vector<neighbour>> neighbours(int link);
  result<void> set_neighbour(const neighbour& n);
  result<void> remove_neighbour(const neighbour& n);

 private:
  explicit links(netlink::socket s) noexcept : socket_(std::move(s)) {}
  netlink::socket socket_;
};

}  // namespace kedge::node
