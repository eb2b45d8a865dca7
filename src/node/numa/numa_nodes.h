// numa_nodes.h: a machine's NUMA nodes: their memory, huge pages and distances, and sets of nodes. Values.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "node/limits.h"

namespace kedge::node {

using numa_mask = std::uint64_t;  // a bit a node
inline constexpr int numa_node_max = 63;

inline numa_mask mask_of(int node) { return numa_mask(1) << static_cast<unsigned>(node); }
inline int count_of(numa_mask m) { return std::popcount(m); }
// With fewer nodes, or with lower ones of as many.
inline bool is_narrower(numa_mask a, numa_mask b) {
  return count_of(a) == count_of(b) ? a < b : count_of(a) < count_of(b);
}
std::vector<int> nodes_of(numa_mask m);

struct numa_node {
  std::uint64_t memory = 0;                          // bytes
  std::map<std::uint64_t, std::uint64_t> hugepages;  // page size → bytes set aside for it
  std::vector<std::uint64_t> distances;              // to the machine's nodes, in the order of their numbers
};
using numa_nodes = std::map<int, numa_node>;  // by number

// Calls `f` with each set of these that has any. Of more than numa_nodes_most with none, for a machine of 32 nodes (two
// sockets whose caches are their nodes) has four thousand million, with or without a policy that would refuse it.
template <typename F>
void each_subset(numa_mask of, F f) {
  if (count_of(of) > numa_nodes_most) return;
  for (auto m = of; m != 0; m = (m - 1) & of) f(m);
}

// The machine's. `root` comes before /sys (tests). Blocks: through offload.
result<numa_nodes> read_numa_nodes(const std::string& root);

}  // namespace kedge::node
