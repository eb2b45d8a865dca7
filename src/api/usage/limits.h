// limits.h: the bounds of what is read of nodes' figures, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::api {

// metrics-server's --metric-resolution as K3s has it, and its deadline for one node.
inline constexpr std::chrono::seconds usage_interval{15};
inline constexpr std::chrono::seconds usage_node_deadline{10};
// A rate needs two readings: of a node that is new here the second comes so soon.
inline constexpr std::chrono::seconds usage_second_reading{1};
// Who asks first waits at most so long for nodes to answer twice.
inline constexpr std::chrono::seconds usage_first_wait{4};
// Nobody asked for so long: nodes are left alone again.
inline constexpr std::chrono::minutes usage_kept{5};
// A node that failed is asked more and more seldom, up to this.
inline constexpr std::chrono::minutes usage_retry_most{2};
// Nodes that are read at once; those that failed last time have places of their own, so that who hangs keeps nobody
// waiting but others who hang.
inline constexpr std::size_t usage_nodes_at_once = 24, usage_failed_nodes_at_once = 8;

// One node's answer: 500 pods of 5 containers have 3 MB. More is nobody's pods.
inline constexpr std::size_t usage_answer_bytes_max = 16 * 1024 * 1024;
inline constexpr std::size_t usage_containers_max = 5'000;
// The longest line that means something: three names of 63, 63 and 253, and two numbers. Longer ones are passed over.
inline constexpr std::size_t usage_line_bytes_max = 2048;
// No machine has so many processors: who tells of more use is broken.
inline constexpr std::uint64_t usage_cores_max = 65'536;

}  // namespace kedge::api
