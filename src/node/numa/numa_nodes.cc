#include "node/numa/numa_nodes.h"

#include <fmt/format.h>

#include <filesystem>
#include <string_view>

#include "base/strings.h"
#include "crypto/files.h"

namespace kedge::node {

namespace {

constexpr std::size_t file_bytes_max = 64 * 1024;

// "Node 0 MemTotal:       24683656 kB"
std::uint64_t memory_in(std::string_view text) {
  constexpr std::string_view name = "MemTotal:", unit = "kB";
  auto at = text.find(name);
  if (at == std::string_view::npos) return 0;
  auto line = text.substr(at + name.size());
  line = trim(line.substr(0, line.find('\n')));
  if (!line.ends_with(unit)) return 0;
  return parse_uint(trim(line.substr(0, line.size() - unit.size()))).value_or(0) * 1024;
}

std::map<std::uint64_t, std::uint64_t> hugepages_in(const std::string& folder) {
  constexpr std::string_view prefix = "hugepages-", suffix = "kB";
  std::map<std::uint64_t, std::uint64_t> out;
  std::error_code problem;
  for (auto it = std::filesystem::directory_iterator(folder, problem);
       !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
    auto file = it->path().filename().string();
    std::string_view name = file;
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    auto size = parse_uint(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
    auto text = crypto::read_file(it->path().string() + "/nr_hugepages", file_bytes_max);
    auto pages = text ? parse_uint(trim(*text)) : std::nullopt;
    if (size && pages) out[*size * 1024] = *pages * *size * 1024;
  }
  return out;
}

std::vector<std::uint64_t> distances_in(const std::string& file) {
  std::vector<std::uint64_t> out;
  auto text = crypto::read_file(file, file_bytes_max);
  if (!text) return out;
  for (auto one : split(trim(*text), ' '))
    if (auto n = parse_uint(one)) out.push_back(*n);
  return out;
}

}  // namespace

std::vector<int> nodes_of(numa_mask m) {
  std::vector<int> out;
  for (; m != 0; m &= m - 1) out.push_back(std::countr_zero(m));
  return out;
}

result<numa_nodes> read_numa_nodes(const std::string& root) {
  const auto folder = root + "/sys/devices/system/node";
  numa_nodes out;
  std::error_code problem;
  for (auto it = std::filesystem::directory_iterator(folder, problem);
       !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
    constexpr std::string_view prefix = "node";
    auto name = it->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    auto id = parse_uint(std::string_view(name).substr(prefix.size()));
    if (!id) continue;
    if (*id > numa_node_max) return fail(errc::unsupported, fmt::format("{} has more than 64 NUMA nodes", folder));
    auto at = it->path().string();
    auto meminfo = crypto::read_file(at + "/meminfo", file_bytes_max);
    out[static_cast<int>(*id)] = {.memory = meminfo ? memory_in(*meminfo) : 0,
                                  .hugepages = hugepages_in(at + "/hugepages"),
                                  .distances = distances_in(at + "/distance")};
  }
  if (out.empty()) return fail(errc::unsupported, fmt::format("{} names no NUMA node", folder));
  return out;
}

}  // namespace kedge::node
