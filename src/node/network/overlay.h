// overlay.h: how the pods of the other nodes are reached: flannel's vxlan and host-gw, without flannel, so that its
// nodes and ours share one network.
//
//   vxlan    10.42.1.0/24 ─▶ via 10.42.1.0 on flannel.1 ─▶ (neighbour) its MAC ─▶ (forwarding table) the node's
//   address, UDP 8472 host-gw  10.42.1.0/24 ─▶ via the node's address
//
// `plan_overlay` is pure; the rest blocks (netlink.h).
#pragma once

#include <string>
#include <vector>

#include "node/network/links.h"
#include "node/network/nodes.h"

namespace kedge::node {

enum class overlay_kind { none, vxlan, host_gw };
// By --flannel-backend; errc::unsupported names what is to be used instead.
result<overlay_kind> parse_overlay_kind(std::string_view backend);

// One family's part of a node.
struct overlay_side {
  bool used = false;
  ip_range subnet;                 // this node's pods
  ip_address local;                // by which the others reach this node
  std::optional<mac_address> mac;  // of the vxlan device: wanted, then found
  int device = 0;                  // the vxlan device, with host-gw the interface itself
};

struct overlay {
  overlay_kind kind = overlay_kind::none;
  std::string node_name;
  int interface = 0;
  unsigned mtu = 1500;  // of pods' packets
  overlay_side v4, v6;
};

struct overlay_options {
  overlay_kind kind = overlay_kind::vxlan;
  std::string node_name;
  std::string interface;  // --flannel-iface; empty: that of the node's address
  std::vector<std::string> node_ips;
  std::vector<ip_range> subnets;  // the Node's podCIDRs
  overlay_end known4, known6;     // what the Node said at the last start: its MACs are kept
};

// Finds the interface, makes the devices or takes over what is there. The sysctls that forwarding needs are set. A stop
// leaves all standing.
result<overlay> open_overlay(const overlay_options& o);

struct overlay_state {
  std::vector<route> routes;
  std::vector<neighbour> neighbours;
};
// What must be there for these nodes; those that can't be reached so (another backend, no address told yet) have
// nothing.
overlay_state plan_overlay(const overlay& o, const std::vector<node_record>& nodes);

// Makes it so: adds what lacks and takes away what is there beyond it (of ours: our devices, our routes).
result<void> apply_overlay(const overlay& o, const overlay_state& wanted);

own_end own_end_of(const overlay& o);

// /run/flannel/subnet.env, for the CNI plugin.
std::string subnet_environment(const overlay& o, const std::vector<ip_range>& cluster);

// nftables: what leaves the cluster's network does so under the node's address, and what comes to pods from outside of
// it looks as from the node where flannel has it so. `cluster`: all pods' ranges. `masquerade_v6`: --flannel-ipv6-masq.
result<void> apply_masquerade(const overlay& o, const std::vector<ip_range>& cluster, bool masquerade_v6);
// Whether they are as they were left: others take tables away, or empty them.
result<bool> masquerade_stands(const overlay& o, bool masquerade_v6);

}  // namespace kedge::node
