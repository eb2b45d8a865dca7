// node_guard.h: what is the node's own stays its own, whatever pods and Services ask for: a table of nftables before
// those of hostPorts and Services, as long as the machine runs.
//
//   to 127.0.0.0/8, or from there, but not over lo ─▶ dropped (CVE-2020-8558: hostPorts let 127.0.0.1 be routed)
//   to an address that the node alone has (the cluster's DNS)  ┐
//   to the node at a port where an agent or server listens     ┴▶ counts as translated: nothing leads it elsewhere
//
// Blocks (netlink.h).
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/ip.h"

namespace kedge::node::nft {

struct node_own {
  std::vector<ip_address> addresses;
  std::vector<std::uint16_t> ports;  // of TCP
  bool v6 = false;                   // pods have addresses of that family, too
  bool anew = false;                 // what an earlier agent kept, with other settings, is forgotten
};

// Makes the table where it doesn't stand whole, and adds what it doesn't know yet: several agents of one machine share
// it, and look after it again and again.
result<void> guard_node(const node_own& own);

// The ports that it keeps. Empty where it doesn't stand.
result<std::vector<std::uint16_t>> guarded_ports();

}  // namespace kedge::node::nft
