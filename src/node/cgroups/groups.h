// groups.h: control groups that a node makes and limits: /kubepods, those of the classes of service below it, a pod's.
// cgroup v1's controllers and v2 alike; what the kernel counts of them is read elsewhere (usage/cgroup.h). All of it
// blocks: through offload.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"

namespace kedge::node {

// What a group may have; what isn't said stays as it is.
struct group_limits {
  std::optional<std::int64_t> cpu_shares;                   // v1's scale, 2 to 262144
  std::optional<std::int64_t> cpu_quota_us, cpu_period_us;  // a quota below 0: none
  std::optional<std::int64_t> memory_bytes;                 // 0 or less: none
  std::optional<std::int64_t> processes;
  // Of each page size in bytes; sizes that aren't named get `other_hugepages`. nullopt: stays as it is.
  std::map<std::uint64_t, std::uint64_t> hugepages;
  std::optional<std::uint64_t> other_hugepages;
  std::map<std::string, std::string> unified;  // v2's own files and what is written to them; nothing with v1

  friend bool operator==(const group_limits&, const group_limits&) = default;
};

// What a group is limited to, and what it uses; of no limit, and of a controller that isn't mounted, the greatest
// number.
struct group_reading {
  std::int64_t memory_limit = std::numeric_limits<std::int64_t>::max(), memory_bytes = 0;
  std::int64_t cpu_quota_us = std::numeric_limits<std::int64_t>::max(), cpu_period_us = 100'000;
  std::int64_t cpu_shares = 0;  // v1's scale; 0: nobody says
};

// The kubelet's way from v1's shares to v2's weight (1 to 10000).
std::int64_t weight_of_shares(std::int64_t shares);
std::int64_t shares_of_weight(std::int64_t weight);  // back, as near as it comes

class group_tree {
 public:
  // `root` stands in for /sys/fs/cgroup in tests.
  explicit group_tree(std::string root = "/sys/fs/cgroup");

  bool is_unified() const noexcept { return unified_; }
  bool counts_swap() const;
  // "/kubepods/burstable": with every controller of v1 that is mounted. In v2 its ancestors pass their controllers on.
  result<void> make(const std::string& path) const;
  // With all that the machine's controllers can: those that aren't mounted limit nothing. errc::not_found: there is no
  // such group.
  result<void> limit(const std::string& path, const group_limits& limits) const;
  bool exists(const std::string& path) const;
  // errc::not_found: there is no such group.
  result<group_reading> read(const std::string& path) const;

 private:
  std::string folder(std::string_view controller, const std::string& path) const;
  result<void> make_v2(const std::string& path) const;
  result<void> limit_pages(const std::string& path, const group_limits& limits) const;

  std::string root_;
  bool unified_;
};

}  // namespace kedge::node
