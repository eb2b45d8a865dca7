// nodes.h: what one node uses of the others' Node objects.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "json/value.h"
#include "node/network/links.h"

namespace kedge::node {

// How flannel, and Kedge beside it, tells the others where its pods are: annotations flannel.alpha.coreos.com/… .
struct overlay_end {
  std::optional<ip_address> address;  // public-ip
  std::optional<mac_address> mac;     // of its vxlan device; nullopt with host-gw
  std::uint32_t vni = 0;
  friend bool operator==(const overlay_end&, const overlay_end&) noexcept = default;
};

struct node_record {
  std::string name;
  std::vector<ip_range> pod_ranges;
  std::string backend;  // "vxlan", "host-gw"
  overlay_end v4, v6;
  std::vector<ip_address> internal, external;  // addresses
  std::string host_name;
  std::map<std::string, std::string> labels;  // of ServiceLB and topology
  bool ready = false;
  friend bool operator==(const node_record&, const node_record&) noexcept = default;
};

std::optional<node_record> decode_node(const json::value& node);

// The annotations by which a node tells its own; null: to be taken away.
struct own_end {
  std::string backend;
  overlay_end v4, v6;
};
json::object overlay_annotations(const own_end& own);

}  // namespace kedge::node
