#include "node/cpus/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/strings.h"
#include "crypto/files.h"

namespace kedge::node {

namespace {

constexpr int cpu_number_max = 8191;  // CONFIG_NR_CPUS at its most

std::optional<int> number_in(const std::string& file) {
  auto text = crypto::read_file(file, 4096);
  auto n = text ? parse_int(trim(*text)) : std::nullopt;
  return n && *n >= 0 && *n <= 1 << 20 ? std::optional(static_cast<int>(*n)) : std::nullopt;
}
cpu_set cpus_in(const std::string& file) {
  auto text = crypto::read_file(file, 64 * 1024);
  return text ? parse_cpus(trim(*text)).value_or(cpu_set()) : cpu_set();
}

}  // namespace

std::optional<cpu_set> parse_cpus(std::string_view text) {
  cpu_set out;
  if (text.empty()) return out;
  for (auto part : split(text, ',')) {
    auto dash = part.find('-');
    auto first = parse_int(part.substr(0, dash));
    auto last = dash == std::string_view::npos ? first : parse_int(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last > cpu_number_max) return std::nullopt;
    for (auto n = *first; n <= *last; ++n) out.insert(static_cast<int>(n));
  }
  return out;
}

std::string text_of(const cpu_set& cpus) {
  std::string out;
  for (auto i = cpus.begin(); i != cpus.end();) {
    auto first = *i, last = first;
    while (++i != cpus.end() && *i == last + 1) last = *i;
    if (!out.empty()) out += ',';
    out += first == last ? std::to_string(first) : fmt::format("{}-{}", first, last);
  }
  return out;
}

cpu_set difference(const cpu_set& a, const cpu_set& b) {
  cpu_set out;
  std::ranges::set_difference(a, b, std::inserter(out, out.end()));
  return out;
}
cpu_set intersection(const cpu_set& a, const cpu_set& b) {
  cpu_set out;
  std::ranges::set_intersection(a, b, std::inserter(out, out.end()));
  return out;
}
cpu_set together(cpu_set a, const cpu_set& b) {
  a.insert(b.begin(), b.end());
  return a;
}

int of_level(const cpu_place& p, cpu_level level) {
  switch (level) {
    case cpu_level::socket: return p.socket;
    case cpu_level::numa: return p.numa;
    case cpu_level::cache: return p.cache;
    case cpu_level::core: return p.core;
  }
  return 0;
}

cpu_set cpu_topology::cpus() const {
  cpu_set out;
  for (auto& [cpu, place] : places) out.insert(cpu);
  return out;
}

std::set<int> cpu_topology::ids(cpu_level level) const {
  std::set<int> out;
  for (auto& [cpu, place] : places) out.insert(of_level(place, level));
  return out;
}

cpu_set cpu_topology::cpus_of(cpu_level level, int id) const {
  cpu_set out;
  for (auto& [cpu, place] : places)
    if (of_level(place, level) == id) out.insert(cpu);
  return out;
}

int cpu_topology::per(cpu_level level) const {
  auto count = ids(level).size();
  return count == 0 ? 0 : static_cast<int>(places.size() / count);
}

result<cpu_topology> read_topology(const std::string& root) {
  const auto cpus = root + "/sys/devices/system/cpu";
  auto online = cpus_in(cpus + "/online");
  if (online.empty()) return fail(errc::io, fmt::format("{}/online names no CPU", cpus));
  cpu_topology out;
  for (auto cpu : online) {
    auto& place = out.places[cpu];
    const auto folder = fmt::format("{}/cpu{}", cpus, cpu);
    place.socket = number_in(folder + "/topology/physical_package_id").value_or(0);
    auto siblings = intersection(cpus_in(folder + "/topology/thread_siblings_list"), online);
    place.core = siblings.empty() ? cpu : *siblings.begin();
    place.cache = place.socket;
    // The last cache that several share, by its number: index3 is a third level's.
    if (number_in(folder + "/cache/index3/level") == 3)
      if (auto id = number_in(folder + "/cache/index3/id")) place.cache = *id;
  }
  std::error_code problem;
  for (auto it = std::filesystem::directory_iterator(root + "/sys/devices/system/node", problem);
       !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
    auto name = it->path().filename().string();
    constexpr std::string_view prefix = "node";
    if (!name.starts_with(prefix)) continue;
    auto node = parse_int(std::string_view(name).substr(prefix.size()));
    if (!node) continue;
    for (auto cpu : cpus_in(it->path().string() + "/cpulist"))
      if (auto p = out.places.find(cpu); p != out.places.end()) p->second.numa = static_cast<int>(*node);
  }
  return out;
}

}  // namespace kedge::node
