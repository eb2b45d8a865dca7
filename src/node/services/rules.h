// rules.h: Services as nftables, one table a family. Pure: what a Service's part of the table is; the cost of a packet
// doesn't grow with their number.
//
//   address . protocol . port ─▶ service-ips: cluster IPs, else external-ips ┐
//   protocol . port of the node ─▶ service-nodeports                          ┴▶ chain external/… ─▶ chain cluster/…
//   or local/… : a random number below n
//        ─▶ endpoints (service's number . random number) ─▶ DNAT
//
// What nobody serves is refused (no-endpoint-…), what isn't allowed is dropped before (firewall-ips).
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "node/nft/table.h"
#include "node/services/endpoints.h"

namespace kedge::node {

inline constexpr const char* services_table = "kedge";

struct rules_context {
  bool v4 = true;
  std::string node, zone;
  std::vector<ip_address> node_ips;
  std::vector<ip_range> cluster;  // pods' ranges, of this family: who is within needs no masquerading
  bool masquerade_all = false;
  // What no Service leads elsewhere or refuses, whatever addresses it says are its own (CVE-2020-8554): the node's own
  // addresses (DNS), and where servers and kubelets listen (TCP).
  std::vector<ip_address> own_addresses = {};
  std::set<std::pair<ip_address, std::uint16_t>> kept = {};
};

// What all Services build on.
nft::part base_rules(const rules_context& c);
std::vector<nft::base_chain> base_hooks();

// A Service's part. `number_of`: a number for each of its ports by name, that stays and that no other has.
nft::part service_rules(const rules_context& c, const service_record& s, const std::vector<const slice_record*>& slices,
                        const std::function<std::uint32_t(const std::string& port)>& number_of);

}  // namespace kedge::node
