// cgroup.h: what the kernel counts of one control group: the files of cgroup v1's controllers and of v2, read to the
// same values. Reading blocks: through offload.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace kedge::node {

// Of one block device.
struct device_io {
  std::string device;  // "8:0"
  std::uint64_t read_bytes = 0, written_bytes = 0, reads = 0, writes = 0;
};

// Pressure stall information: of a resource, how long some and all tasks waited. v2 alone.
struct pressure {
  struct share {
    double last_10s = 0, last_60s = 0, last_300s = 0;  // per cent
    std::uint64_t total_microseconds = 0;
  } some, full;
};

struct cgroup_usage {
  wall_time at{};
  std::uint64_t cpu_nanoseconds = 0, cpu_user_nanoseconds = 0, cpu_system_nanoseconds = 0;  // of all cores, ever
  std::uint64_t periods = 0, throttled_periods = 0, throttled_nanoseconds = 0;              // of a group with a quota
  std::uint64_t cpu_period_us = 0, cpu_shares = 0;
  std::int64_t cpu_quota_us = 0;  // 0: none

  std::uint64_t memory_bytes = 0, memory_most_bytes = 0, memory_limit_hits = 0;
  std::uint64_t cache_bytes = 0, rss_bytes = 0, mapped_bytes = 0, kernel_bytes = 0, swap_bytes = 0;
  std::uint64_t active_file_bytes = 0, inactive_file_bytes = 0;
  std::uint64_t page_faults = 0, major_page_faults = 0, oom_kills = 0;
  std::optional<std::uint64_t> memory_limit, swap_limit;  // bytes; nullopt: unlimited

  std::uint64_t processes = 0, threads = 0;
  std::optional<std::uint64_t> threads_limit;
  std::vector<device_io> io;
  std::optional<pressure> cpu_pressure, memory_pressure, io_pressure;

  // What can't be given back at once: what evictions, autoscalers and `kubectl top` go by.
  std::uint64_t working_set_bytes() const noexcept {
    return memory_bytes > inactive_file_bytes ? memory_bytes - inactive_file_bytes : 0;
  }
};

// The group hierarchy of this machine. `root` stands in for /sys/fs/cgroup in tests.
class cgroup_files {
 public:
  explicit cgroup_files(std::string root = "/sys/fs/cgroup");

  // nullopt: there is no such group. `path`: "/kubepods/pod1/abc".
  std::optional<cgroup_usage> read(const std::string& path) const;
  // One process of the group itself, not of those below it; nullopt: there is none.
  std::optional<std::int64_t> first_process(const std::string& path) const;

 private:
  std::string file(std::string_view controller, const std::string& path, std::string_view name) const;
  bool exists(const std::string& path) const;
  void read_v1(const std::string& path, cgroup_usage& u) const;
  void read_v2(const std::string& path, cgroup_usage& u) const;

  std::string root_;
  bool unified_;
};

// "some avg10=0.12 avg60=0.05 avg300=0.01 total=12345\nfull …"; nullopt: it is no such text.
std::optional<pressure> parse_pressure(std::string_view text);

}  // namespace kedge::node
