#include "cli/memory_limit.h"

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "crypto/files.h"

namespace kedge::cli {

namespace {

std::string text_of(const std::string& path) { return crypto::read_file(path).value_or(std::string()); }

std::optional<std::size_t> machine_memory(const std::string& root) {
  auto text = text_of(root + "/proc/meminfo");
  for (auto line : split(text, '\n')) {
    constexpr std::string_view name = "MemTotal:", unit = " kB";
    if (!line.starts_with(name) || !line.ends_with(unit)) continue;
    if (auto n = parse_uint(trim(line.substr(name.size(), line.size() - name.size() - unit.size())))) return *n * 1024;
  }
  return std::nullopt;
}

// The least of a limit's file in `group` and all groups above it. "max", and the file that the top doesn't have, are no
// limits.
std::optional<std::size_t> least_limit(const std::string& hierarchy, std::string_view group, std::string_view file) {
  std::optional<std::size_t> least;
  for (auto path = std::string(group);; path.resize(path.rfind('/'))) {
    auto text = text_of(hierarchy + path + "/" + std::string(file));
    if (auto n = parse_uint(trim(text))) least = std::min<std::size_t>(least.value_or(*n), *n);
    if (path.rfind('/') == std::string::npos) return least;
  }
}

}  // namespace

std::size_t memory_limit(const std::string& root) {
  auto least = machine_memory(root);
  auto groups = text_of(root + "/proc/self/cgroup");
  for (auto line : split(groups, '\n')) {
    // "0::/system.slice/kedge.service" (v2), "7:memory:/…" (v1)
    auto parts = split(line, ':');
    if (parts.size() < 3) continue;
    auto path = line.substr(parts[0].size() + parts[1].size() + 2);
    if (path == "/") path = {};
    std::optional<std::size_t> found;
    if (parts[0] == "0" && parts[1].empty()) found = least_limit(root + "/sys/fs/cgroup", path, "memory.max");
    if (parts[1] == "memory") found = least_limit(root + "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
    if (found) least = std::min(least.value_or(*found), *found);
  }
  return least.value_or(0);
}

}  // namespace kedge::cli
