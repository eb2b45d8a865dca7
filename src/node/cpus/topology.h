// topology.h: a machine's CPUs and what they share: a core, a last cache, a NUMA node, a socket. Values.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::node {

using cpu_set = std::set<int>;

// Linux's list format: "0-3,8". nullopt: it is malformed.
std::optional<cpu_set> parse_cpus(std::string_view text);
std::string text_of(const cpu_set& cpus);
cpu_set difference(const cpu_set& a, const cpu_set& b);
cpu_set intersection(const cpu_set& a, const cpu_set& b);
cpu_set together(cpu_set a, const cpu_set& b);

// A core's name is its lowest CPU: the kernel's repeat in each socket.
struct cpu_place {
  int socket = 0, numa = 0, core = 0, cache = 0;
};
enum class cpu_level : unsigned char { socket, numa, cache, core };
int of_level(const cpu_place& p, cpu_level level);

struct cpu_topology {
  std::map<int, cpu_place> places;

  cpu_set cpus() const;
  std::set<int> ids(cpu_level level) const;        // of all CPUs
  cpu_set cpus_of(cpu_level level, int id) const;  // that it has
  int per(cpu_level level) const;                  // CPUs of each, on the average; 0 without CPUs
};

// Of the machine's online CPUs. `root` comes before /sys (tests). Blocks: through offload.
result<cpu_topology> read_topology(const std::string& root);

}  // namespace kedge::node
