// spans.h: sets of addresses and of ports as spans that don't overlap, as nftables wants them. Pure.
#pragma once

#include <string>
#include <vector>

#include "node/policy/records.h"

namespace kedge::node {

// From one to the other, both included; of one length, in network order, so that they compare as numbers do.
struct span_of {
  std::string from, to;
  friend auto operator<=>(const span_of&, const span_of&) noexcept = default;
};

// Sorted, each address in one span at most, and no two that could be one.
std::vector<span_of> united(std::vector<span_of> all);
// What `except` has is taken out of `all`; both as united() gives them.
std::vector<span_of> without(const std::vector<span_of>& all, const std::vector<span_of>& except);

// The blocks' addresses of one family. What one block excepts another may still have.
std::vector<span_of> addresses_of_blocks(const std::vector<policy_peer>& peers, bool v4);

struct port_span {
  transport protocol = transport::tcp;
  std::uint16_t first = 0, last = 0;
  friend auto operator<=>(const port_span&, const port_span&) noexcept = default;
};
// Those of `ports` that are numbers.
std::vector<port_span> numbers_of_ports(const std::vector<policy_port>& ports);

}  // namespace kedge::node
