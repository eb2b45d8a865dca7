#include "node/cgroups/groups.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "crypto/files.h"

namespace kedge::node {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t control_file_bytes_max = 64 * 1024;
constexpr std::int64_t shares_least = 2, shares_most = 262'144;

bool is_folder(const std::string& path) {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode);
}
bool is_there(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// The kernel takes a value whole or not at all.
result<void> put(const std::string& file, std::string_view text) {
  auto fd = ::open(file.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (fd < 0) return fail(os_error(errno, fmt::format("open {}", file)));
  auto written = ::write(fd, text.data(), text.size());
  auto problem = errno;
  ::close(fd);
  if (written < 0) return fail(os_error(problem, fmt::format("write {} to {}", text, file)));
  return {};
}
std::string get(const std::string& file) {
  return std::string(trim(crypto::read_file(file, control_file_bytes_max).value_or(std::string())));
}

result<void> make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return fail(os_error(errno, fmt::format("mkdir {}", path)));
  return {};
}

// A group of v1's cpuset takes no process before it has CPUs and memory: those of its parent, as runc gives them.
result<void> inherit_cpuset(const std::string& folder) {
  for (auto* name : {"/cpuset.cpus", "/cpuset.mems"}) {
    if (!is_there(folder + name) || !get(folder + name).empty()) continue;
    auto parent = get(fs::path(folder).parent_path().string() + name);
    if (!parent.empty()) KEDGE_CHECK(put(folder + name, parent));
  }
  return {};
}

// "/a/b" gives "/a", "/a/b".
std::vector<std::string> steps_to(const std::string& path) {
  std::vector<std::string> out;
  for (auto at = path.find('/', 1);; at = path.find('/', at + 1)) {
    out.push_back(path.substr(0, at));
    if (at == std::string::npos) return out;
  }
}

// "hugetlb.2MB.max" in bytes; 0: it is none.
std::uint64_t page_size(std::string_view name) {
  constexpr std::string_view prefix = "hugetlb.";
  if (!name.starts_with(prefix)) return 0;
  auto size = name.substr(prefix.size(), name.find('.', prefix.size()) - prefix.size());
  static constexpr std::pair<std::string_view, unsigned> units[] = {{"KB", 10}, {"MB", 20}, {"GB", 30}};
  for (auto& [unit, shift] : units)
    if (size.ends_with(unit)) return parse_uint(size.substr(0, size.size() - 2)).value_or(0) << shift;
  return 0;
}

}  // namespace

std::int64_t weight_of_shares(std::int64_t shares) {
  return 1 + (std::clamp(shares, shares_least, shares_most) - shares_least) * 9999 / (shares_most - shares_least);
}

std::int64_t shares_of_weight(std::int64_t weight) {
  return weight <= 0 ? 0 : shares_least + (weight - 1) * (shares_most - shares_least) / 9999;
}

group_tree::group_tree(std::string root) : root_(std::move(root)), unified_(is_there(root_ + "/cgroup.controllers")) {}

bool group_tree::counts_swap() const {
  if (!unified_) return is_there(root_ + "/memory/memory.memsw.limit_in_bytes");
  return is_there("/proc/swaps") && is_there(root_ + "/init.scope/memory.swap.max");
}

std::string group_tree::folder(std::string_view controller, const std::string& path) const {
  return unified_ ? root_ + path : fmt::format("{}/{}{}", root_, controller, path);
}

bool group_tree::exists(const std::string& path) const { return is_folder(folder("memory", path)); }

result<void> group_tree::make_v2(const std::string& path) const {
  // A group has of the controllers what its parent passes on.
  for (std::string parent; auto& step : steps_to(path)) {
    for (auto controller : split(get(root_ + parent + "/cgroup.controllers"), ' ')) {
      // One that can't be passed on (a realtime process, a threaded group) is missed by limit() alone.
      if (!controller.empty()) (void)put(root_ + parent + "/cgroup.subtree_control", fmt::format("+{}", controller));
    }
    KEDGE_CHECK(make_folder(root_ + step));
    parent = step;
  }
  return {};
}

result<void> group_tree::make(const std::string& path) const {
  if (unified_) return make_v2(path);
  std::error_code problem;
  bool any = false;
  for (auto it = fs::directory_iterator(root_, problem); !problem && it != fs::directory_iterator();
       it.increment(problem)) {
    std::error_code ignored;
    auto controller = it->path().filename().string();
    // A v1 hierarchy, not another name of one, and not the v2 one of a hybrid machine.
    if (it->is_symlink(ignored) || controller == "unified" || !is_there(it->path().string() + "/cgroup.procs"))
      continue;
    any = true;
    for (auto& step : steps_to(path)) {
      auto made = it->path().string() + step;
      KEDGE_CHECK(make_folder(made));
      if (controller.contains("cpuset")) KEDGE_CHECK(inherit_cpuset(made));
    }
  }
  if (problem) return fail(os_error(problem.value(), fmt::format("read {}", root_)));
  if (!any) return fail(errc::not_found, fmt::format("no control groups are mounted below {}", root_));
  return {};
}

result<void> group_tree::limit_pages(const std::string& path, const group_limits& limits) const {
  if (limits.hugepages.empty() && !limits.other_hugepages) return {};
  auto ending = unified_ ? std::string_view(".max") : std::string_view(".limit_in_bytes");
  std::error_code problem;
  for (auto it = fs::directory_iterator(folder("hugetlb", path), problem); !problem && it != fs::directory_iterator();
       it.increment(problem)) {
    auto name = it->path().filename().string();
    if (!name.ends_with(ending) || name.contains(".rsvd.")) continue;
    auto size = page_size(name);
    if (size == 0) continue;  // in v2 the group's other files lie beside
    auto named = limits.hugepages.find(size);
    if (named == limits.hugepages.end() && !limits.other_hugepages) continue;
    auto bytes = named == limits.hugepages.end() ? *limits.other_hugepages : named->second;
    KEDGE_CHECK(put(it->path().string(), std::to_string(bytes)));
  }
  return {};
}

result<void> group_tree::limit(const std::string& path, const group_limits& l) const {
  if (!exists(path)) return fail(errc::not_found, fmt::format("there is no control group {}", path));
  auto set = [&](std::string_view controller, std::string_view name, const std::string& text) -> result<void> {
    auto file = fmt::format("{}/{}", folder(controller, path), name);
    return is_there(file) ? put(file, text) : result<void>();
  };
  if (l.cpu_shares) {
    KEDGE_CHECK(unified_ ? set("cpu", "cpu.weight", std::to_string(weight_of_shares(*l.cpu_shares)))
                         : set("cpu", "cpu.shares", std::to_string(*l.cpu_shares)));
  }
  if (l.cpu_quota_us && unified_) {
    auto quota = *l.cpu_quota_us > 0 ? std::to_string(*l.cpu_quota_us) : std::string("max");
    KEDGE_CHECK(set("cpu", "cpu.max", fmt::format("{} {}", quota, l.cpu_period_us.value_or(100'000))));
  } else if (l.cpu_quota_us) {
    if (l.cpu_period_us) KEDGE_CHECK(set("cpu", "cpu.cfs_period_us", std::to_string(*l.cpu_period_us)));
    KEDGE_CHECK(set("cpu", "cpu.cfs_quota_us", std::to_string(*l.cpu_quota_us > 0 ? *l.cpu_quota_us : -1)));
  }
  if (l.memory_bytes) {
    auto none = *l.memory_bytes <= 0;
    KEDGE_CHECK(unified_ ? set("memory", "memory.max", none ? "max" : std::to_string(*l.memory_bytes))
                         : set("memory", "memory.limit_in_bytes", none ? "-1" : std::to_string(*l.memory_bytes)));
  }
  if (l.processes) KEDGE_CHECK(set("pids", "pids.max", *l.processes > 0 ? std::to_string(*l.processes) : "max"));
  KEDGE_CHECK(limit_pages(path, l));
  if (unified_)
    for (auto& [name, text] : l.unified) KEDGE_CHECK(set("", name, text));
  return {};
}

result<group_reading> group_tree::read(const std::string& path) const {
  if (!exists(path)) return fail(errc::not_found, fmt::format("there is no control group {}", path));
  auto word = [&](std::string_view controller, std::string_view name, std::size_t n = 0) {
    auto text = get(fmt::format("{}/{}", folder(controller, path), name));
    auto words = split(text, ' ');
    return n < words.size() ? parse_int(words[n]) : std::nullopt;
  };
  auto number = [&](std::string_view controller, std::string_view name) { return word(controller, name); };
  group_reading out;
  out.memory_limit = number("memory", unified_ ? "memory.max" : "memory.limit_in_bytes").value_or(out.memory_limit);
  out.memory_bytes = number("memory", unified_ ? "memory.current" : "memory.usage_in_bytes").value_or(0);
  auto quota = number("cpu", unified_ ? "cpu.max" : "cpu.cfs_quota_us").value_or(-1);
  if (quota > 0) out.cpu_quota_us = quota;
  auto period = unified_ ? word("cpu", "cpu.max", 1) : number("cpu", "cpu.cfs_period_us");
  out.cpu_period_us = period.value_or(out.cpu_period_us);
  out.cpu_shares =
      unified_ ? shares_of_weight(number("cpu", "cpu.weight").value_or(0)) : number("cpu", "cpu.shares").value_or(0);
  return out;
}

}  // namespace kedge::node
