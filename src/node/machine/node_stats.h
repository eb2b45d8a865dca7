// node_stats.h: what the machine uses now, for /stats/summary and the kubelet's metrics. Reading blocks: through
// offload.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::node {

struct node_stats {
  std::uint64_t cpu_nanoseconds = 0;  // of all cores, since boot; idle time not counted
  std::uint64_t memory_total_bytes = 0, memory_available_bytes = 0, memory_usage_bytes = 0,
                memory_working_set_bytes = 0;
  std::uint64_t memory_rss_bytes = 0, page_faults = 0, major_page_faults = 0;
  std::uint64_t swap_total_bytes = 0, swap_usage_bytes = 0;
  std::string network_interface;  // of the default route; empty: none
  std::uint64_t received_bytes = 0, receive_errors = 0, sent_bytes = 0, send_errors = 0;
  // Used is what isn't free; available is less than free, by what is kept for root.
  std::uint64_t disk_bytes = 0, disk_used_bytes = 0, disk_available_bytes = 0, inodes = 0, inodes_free = 0;
  std::int64_t processes = 0, processes_max = 0;
  std::int64_t booted = 0;  // unix seconds
  // This process
  std::uint64_t own_cpu_nanoseconds = 0, own_resident_bytes = 0, own_descriptors = 0, own_descriptors_max = 0;
  double own_started = 0;  // unix seconds
};

// `root` comes before /proc (tests); `storage` is a path on the file system that is the node's.
result<node_stats> read_node_stats(const std::string& root, const std::string& storage);

}  // namespace kedge::node
