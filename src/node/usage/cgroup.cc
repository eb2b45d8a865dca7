#include "node/usage/cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/strings.h"
#include "crypto/files.h"
#include "node/limits.h"

namespace kedge::node {

namespace {

constexpr std::uint64_t nanoseconds_per_microsecond = 1000, nanoseconds_per_second = 1'000'000'000;
// Where v1 says that there is no limit, it gives the largest number of whole pages.
constexpr std::uint64_t unlimited_from = std::uint64_t(1) << 62;

std::uint64_t number(std::string_view text) { return parse_uint(trim(text)).value_or(0); }

// "max", and v1's huge numbers: none.
std::optional<std::uint64_t> limit(std::string_view text) {
  auto n = parse_uint(trim(text));
  return n && *n < unlimited_from ? n : std::nullopt;
}

// Of lines "name number", those that are known by their names.
struct wanted_number {
  std::string_view name;
  std::uint64_t& to;
};
void read_named(std::string_view text, std::initializer_list<wanted_number> wanted) {
  for (auto line : split(text, '\n')) {
    auto blank = line.find(' ');
    if (blank == std::string_view::npos) continue;
    for (auto& w : wanted)
      if (w.name == line.substr(0, blank)) w.to = number(line.substr(blank + 1));
  }
}

device_io& of_device(std::vector<device_io>& all, std::string_view device) {
  for (auto& d : all)
    if (d.device == device) return d;
  return all.emplace_back(device_io{.device = std::string(device)});
}

// v2: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0"
void read_io_stat(std::string_view text, std::vector<device_io>& out) {
  for (auto line : split(text, '\n')) {
    auto words = split(line, ' ');
    if (words.size() < 2) continue;
    auto& d = of_device(out, words[0]);
    for (auto word : words) {
      auto equals = word.find('=');
      if (equals == std::string_view::npos) continue;
      auto name = word.substr(0, equals);
      auto n = number(word.substr(equals + 1));
      if (name == "rbytes") d.read_bytes = n;
      if (name == "wbytes") d.written_bytes = n;
      if (name == "rios") d.reads = n;
      if (name == "wios") d.writes = n;
    }
  }
}

// v1: "8:0 Read 4096"
void read_blkio(std::string_view text, std::vector<device_io>& out, std::uint64_t device_io::* read,
                std::uint64_t device_io::* written) {
  for (auto line : split(text, '\n')) {
    auto words = split(line, ' ');
    if (words.size() != 3) continue;
    if (words[1] == "Read") of_device(out, words[0]).*read = number(words[2]);
    if (words[1] == "Write") of_device(out, words[0]).*written = number(words[2]);
  }
}

std::size_t count_lines(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

std::string text_of(const std::string& path) {
  return crypto::read_file(path, cgroup_file_bytes_max).value_or(std::string());
}

// The kernel's own way from v2's weights (1 to 10000) to v1's shares (2 to 262144).
std::uint64_t shares_of_weight(std::uint64_t weight) { return weight == 0 ? 0 : 2 + (weight - 1) * 262142 / 9999; }

double real(std::string_view text) {
  double v = 0;
  std::from_chars(text.data(), text.data() + text.size(), v);
  return v;
}

}  // namespace

std::optional<pressure> parse_pressure(std::string_view text) {
  pressure out;
  bool any = false;
  for (auto line : split(text, '\n')) {
    auto words = split(line, ' ');
    if (words[0] != "some" && words[0] != "full") continue;
    auto& share = words[0] == "some" ? out.some : out.full;
    any = true;
    for (auto word : words) {
      auto equals = word.find('=');
      if (equals == std::string_view::npos) continue;
      auto name = word.substr(0, equals), value = word.substr(equals + 1);
      if (name == "avg10") share.last_10s = real(value);
      if (name == "avg60") share.last_60s = real(value);
      if (name == "avg300") share.last_300s = real(value);
      if (name == "total") share.total_microseconds = number(value);
    }
  }
  return any ? std::optional(out) : std::nullopt;
}

cgroup_files::cgroup_files(std::string root)
    : root_(std::move(root)), unified_(::access((root_ + "/cgroup.controllers").c_str(), F_OK) == 0) {}

std::string cgroup_files::file(std::string_view controller, const std::string& path, std::string_view name) const {
  std::string out = root_;
  if (!unified_) (out += '/') += controller;
  return ((out += path) += '/') += name;
}

bool cgroup_files::exists(const std::string& path) const {
  struct stat about{};
  return ::stat(file("cpuacct", path, "").c_str(), &about) == 0 && S_ISDIR(about.st_mode);
}

std::optional<cgroup_usage> cgroup_files::read(const std::string& path) const {
  if (!exists(path)) return std::nullopt;
  cgroup_usage u;
  u.at = system_wall_time();
  if (unified_)
    read_v2(path, u);
  else
    read_v1(path, u);
  u.processes = count_lines(text_of(file("cpuacct", path, "cgroup.procs")));
  u.threads = number(text_of(file("pids", path, "pids.current")));
  u.threads_limit = limit(text_of(file("pids", path, "pids.max")));
  return u;
}

void cgroup_files::read_v1(const std::string& path, cgroup_usage& u) const {
  u.cpu_nanoseconds = number(text_of(file("cpuacct", path, "cpuacct.usage")));
  std::uint64_t user = 0, system = 0;
  read_named(text_of(file("cpuacct", path, "cpuacct.stat")), {{"user", user}, {"system", system}});
  const auto tick = nanoseconds_per_second / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  u.cpu_user_nanoseconds = user * tick;
  u.cpu_system_nanoseconds = system * tick;
  read_named(
      text_of(file("cpu", path, "cpu.stat")),
      {{"nr_periods", u.periods}, {"nr_throttled", u.throttled_periods}, {"throttled_time", u.throttled_nanoseconds}});
  u.cpu_period_us = number(text_of(file("cpu", path, "cpu.cfs_period_us")));
  u.cpu_quota_us = static_cast<std::int64_t>(number(text_of(file("cpu", path, "cpu.cfs_quota_us"))));  // -1: none
  u.cpu_shares = number(text_of(file("cpu", path, "cpu.shares")));

  u.memory_bytes = number(text_of(file("memory", path, "memory.usage_in_bytes")));
  u.memory_most_bytes = number(text_of(file("memory", path, "memory.max_usage_in_bytes")));
  u.memory_limit_hits = number(text_of(file("memory", path, "memory.failcnt")));
  u.kernel_bytes = number(text_of(file("memory", path, "memory.kmem.usage_in_bytes")));
  u.memory_limit = limit(text_of(file("memory", path, "memory.limit_in_bytes")));
  u.swap_limit = limit(text_of(file("memory", path, "memory.memsw.limit_in_bytes")));
  read_named(text_of(file("memory", path, "memory.stat")), {{"total_cache", u.cache_bytes},
                                                            {"total_rss", u.rss_bytes},
                                                            {"total_mapped_file", u.mapped_bytes},
                                                            {"total_swap", u.swap_bytes},
                                                            {"total_active_file", u.active_file_bytes},
                                                            {"total_inactive_file", u.inactive_file_bytes},
                                                            {"total_pgfault", u.page_faults},
                                                            {"total_pgmajfault", u.major_page_faults}});
  read_named(text_of(file("memory", path, "memory.oom_control")), {{"oom_kill", u.oom_kills}});
  read_blkio(text_of(file("blkio", path, "blkio.throttle.io_service_bytes_recursive")), u.io, &device_io::read_bytes,
             &device_io::written_bytes);
  read_blkio(text_of(file("blkio", path, "blkio.throttle.io_serviced_recursive")), u.io, &device_io::reads,
             &device_io::writes);
}

void cgroup_files::read_v2(const std::string& path, cgroup_usage& u) const {
  std::uint64_t usage = 0, user = 0, system = 0, throttled = 0;
  read_named(text_of(file("", path, "cpu.stat")), {{"usage_usec", usage},
                                                   {"user_usec", user},
                                                   {"system_usec", system},
                                                   {"nr_periods", u.periods},
                                                   {"nr_throttled", u.throttled_periods},
                                                   {"throttled_usec", throttled}});
  u.cpu_nanoseconds = usage * nanoseconds_per_microsecond;
  u.cpu_user_nanoseconds = user * nanoseconds_per_microsecond;
  u.cpu_system_nanoseconds = system * nanoseconds_per_microsecond;
  u.throttled_nanoseconds = throttled * nanoseconds_per_microsecond;
  auto most = text_of(file("", path, "cpu.max"));  // "max 100000" or "50000 100000"
  if (auto words = split(trim(most), ' '); words.size() == 2) {
    u.cpu_quota_us = static_cast<std::int64_t>(number(words[0]));
    u.cpu_period_us = number(words[1]);
  }
  u.cpu_shares = shares_of_weight(number(text_of(file("", path, "cpu.weight"))));

  u.memory_bytes = number(text_of(file("", path, "memory.current")));
  u.memory_most_bytes = number(text_of(file("", path, "memory.peak")));
  u.swap_bytes = number(text_of(file("", path, "memory.swap.current")));
  u.memory_limit = limit(text_of(file("", path, "memory.max")));
  u.swap_limit = limit(text_of(file("", path, "memory.swap.max")));
  read_named(text_of(file("", path, "memory.stat")), {{"file", u.cache_bytes},
                                                      {"anon", u.rss_bytes},
                                                      {"file_mapped", u.mapped_bytes},
                                                      {"kernel", u.kernel_bytes},
                                                      {"active_file", u.active_file_bytes},
                                                      {"inactive_file", u.inactive_file_bytes},
                                                      {"pgfault", u.page_faults},
                                                      {"pgmajfault", u.major_page_faults}});
  read_named(text_of(file("", path, "memory.events")), {{"max", u.memory_limit_hits}, {"oom_kill", u.oom_kills}});
  read_io_stat(text_of(file("", path, "io.stat")), u.io);
  u.cpu_pressure = parse_pressure(text_of(file("", path, "cpu.pressure")));
  u.memory_pressure = parse_pressure(text_of(file("", path, "memory.pressure")));
  u.io_pressure = parse_pressure(text_of(file("", path, "io.pressure")));
}

std::optional<std::int64_t> cgroup_files::first_process(const std::string& path) const {
  auto all = text_of(file("cpuacct", path, "cgroup.procs"));
  auto n = parse_uint(std::string_view(all).substr(0, all.find('\n')));
  return n && *n > 0 ? std::optional(static_cast<std::int64_t>(*n)) : std::nullopt;
}

}  // namespace kedge::node
