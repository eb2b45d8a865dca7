// conntrack.h: flows that the kernel remembers, and forgetting those whose endpoint is gone: UDP has no end by which it
// would by itself. Blocks.
#pragma once

#include <functional>

#include "base/ip.h"
#include "node/network/netlink.h"

namespace kedge::node {

struct flow {
  std::uint8_t protocol = 0;
  ip_address asked;  // the destination as the client has it
  std::uint16_t asked_port = 0;
  ip_address answers;  // who answers
  std::uint16_t answers_port = 0;
};
// Those of UDP for which `gone` holds are forgotten. How many that were.
result<std::size_t> forget_flows(bool v4, const std::function<bool(const flow&)>& gone);

}  // namespace kedge::node
