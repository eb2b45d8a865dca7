#include "node/cpus/cpu_ledger.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;

// FNV-1a, over the text that Go's printer of values makes for the kubelet.
std::int64_t fnv1a(std::string_view text) {
  std::uint32_t h = 2'166'136'261U;
  for (unsigned char c : text) h = (h ^ c) * 16'777'619U;
  return h;
}

// The part that older kubelets read: policy, shared CPUs and containers' own.
std::int64_t checksum_of(const value& file) {
  std::vector<std::string> pods;
  if (auto* entries = file["entries"].object()) {
    std::map<std::string, std::string> sorted;
    for (auto& [uid, containers] : *entries) {
      std::map<std::string, std::string> of_pod;
      if (auto* all = containers.object())
        for (auto& [name, cpus] : *all) of_pod.emplace(name, fmt::format("{}:{}", name, cpus.as_string()));
      std::vector<std::string> parts;
      for (auto& [name, text] : of_pod) parts.push_back(text);
      sorted.emplace(uid, fmt::format("{}:map[{}]", uid, join(parts, " ")));
    }
    for (auto& [uid, text] : sorted) pods.push_back(text);
  }
  return fnv1a(
      fmt::format("(*state.CPUManagerCheckpoint){{PolicyName:(string){} DefaultCPUSet:(string){} "
                  "Entries:(map[string]map[string]string)map[{}] Checksum:(checksum.Checksum)0}}",
                  file["policyName"].as_string(), file["defaultCpuSet"].as_string(), join(pods, " ")));
}

}  // namespace

result<cpu_ledger> cpu_ledger::make(cpu_topology topology, const cpu_manager_settings& settings, int reserved) {
  cpu_ledger out;
  out.topology_ = std::move(topology);
  out.settings_ = settings;
  auto all = out.topology_.cpus();
  if (reserved <= 0)
    return fail(errc::invalid,
                "the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than "
                "zero");
  if (!settings.reserved.empty())
    out.reserved_ = parse_cpus(settings.reserved).value_or(cpu_set());
  else if (auto chosen = out.choose(all, reserved))
    out.reserved_ = *std::move(chosen);
  if (static_cast<int>(out.reserved_.size()) != reserved || !difference(out.reserved_, all).empty())
    return fail(errc::invalid,
                fmt::format("unable to reserve the required amount of CPUs (size of {} did not equal {})",
                            text_of(out.reserved_), reserved));
  if (settings.by_socket && out.topology_.ids(cpu_level::socket).size() > out.topology_.ids(cpu_level::numa).size())
    return fail(errc::invalid,
                "Align by socket is not compatible with hardware where number of sockets are more than number of NUMA");
  for (auto cpu : out.reserved_)
    out.reserved_cores_ = together(std::move(out.reserved_cores_),
                                   out.topology_.cpus_of(cpu_level::core, out.topology_.places.at(cpu).core));
  out.shared_ = settings.strict ? difference(all, out.reserved_) : all;
  return out;
}

result<cpu_set> cpu_ledger::choose(const cpu_set& of, int count) const {
  auto& s = settings_;
  return choose_cpus(topology_, of, count,
                     {.spread = s.over_cores,
                      .by_cache = s.by_cache,
                      .over_numa = s.over_numa,
                      .by_socket = s.by_socket,
                      .group = s.full_cores ? topology_.per(cpu_level::core) : 1});
}

result<void> cpu_ledger::check_whole_cores(int count) const {
  if (!settings_.full_cores) return {};
  const auto per_core = topology_.per(cpu_level::core);
  if (count % per_core != 0)
    return fail(errc::conflict,
                fmt::format("SMT Alignment Error: requested {} cpus not multiple cpus per core = {}", count, per_core));
  auto whole = static_cast<int>(difference(shared_, reserved_cores_).size());
  if (count > whole)
    return fail(errc::conflict, fmt::format("SMT Alignment Error: not enough free physical CPUs: available physical "
                                            "CPUs = {}, requested CPUs = {}, CPUs per core = {}",
                                            whole, count, per_core));
  return {};
}

// What init containers before it had, and nobody who stays has taken over.
cpu_set cpu_ledger::reusable(std::string_view uid, const std::vector<cpu_need>& needs, std::string_view before) const {
  cpu_set out;
  for (auto& n : needs) {
    if (n.container == before) break;
    auto* has = own(uid, n.container);
    if (!has) continue;
    out = n.is_init && !n.stays ? together(std::move(out), *has) : difference(out, *has);
  }
  return out;
}

// With by_socket all of their sockets'.
cpu_set cpu_ledger::near_to(numa_mask nodes, const cpu_set& of) const {
  auto is_of = [&](const cpu_place& p) { return (nodes & mask_of(p.numa)) != 0; };
  std::set<int> sockets;
  for (auto& [cpu, place] : topology_.places)
    if (is_of(place)) sockets.insert(place.socket);
  cpu_set out;
  for (auto cpu : of)
    if (auto& place = topology_.places.at(cpu); settings_.by_socket ? sockets.contains(place.socket) : is_of(place))
      out.insert(cpu);
  return out;
}

// As few sockets as so many nodes need at least.
bool cpu_ledger::in_few_sockets(numa_mask nodes, int least_nodes) const {
  auto per_socket = static_cast<int>(topology_.ids(cpu_level::numa).size() / topology_.ids(cpu_level::socket).size());
  if (per_socket == 0) return false;
  std::set<int> sockets;
  for (auto& [cpu, place] : topology_.places)
    if ((nodes & mask_of(place.numa)) != 0) sockets.insert(place.socket);
  return static_cast<int>(sockets.size()) == (least_nodes + per_socket - 1) / per_socket;
}

// The sets of NUMA nodes that have so many; preferred are those of as few nodes as would do on an empty machine.
numa_hints cpu_ledger::places(const cpu_set& free, const cpu_set& reusable, int count) const {
  numa_mask all = 0, must = 0;
  std::map<int, int> has, may;
  for (auto& [cpu, place] : topology_.places) {
    all |= mask_of(place.numa);
    ++has[place.numa];
  }
  for (auto cpu : reusable) must |= mask_of(topology_.places.at(cpu).numa);
  for (auto& set : {free, reusable})
    for (auto cpu : set) ++may[topology_.places.at(cpu).numa];
  auto sum = [](std::map<int, int>& of, numa_mask m) {
    int out = 0;
    for (auto n : nodes_of(m)) out += of[n];
    return out;
  };
  std::vector<numa_hint> out;
  int least = count_of(all);
  each_subset(all, [&](numa_mask m) {
    if (sum(has, m) >= count) least = std::min(least, count_of(m));
    if ((must & ~m) == 0 && sum(may, m) >= count) out.push_back({m, false});
  });
  for (auto& h : out)
    h.preferred = count_of(*h.nodes) == least || (settings_.by_socket && in_few_sockets(*h.nodes, least));
  return out;
}

hints_by_resource cpu_ledger::hints(std::string_view uid, const std::vector<cpu_need>& needs,
                                    std::string_view container) const {
  auto need = std::ranges::find(needs, container, &cpu_need::container);
  if (need == needs.end()) return {};
  if (auto* has = own(uid, container)) {
    if (static_cast<int>(has->size()) != need->count) return {{"cpu", std::vector<numa_hint>()}};
    return {{"cpu", places(*has, {}, need->count)}};
  }
  return {{"cpu", places(difference(shared_, reserved_), reusable(uid, needs, container), need->count)}};
}

hints_by_resource cpu_ledger::pod_hints(std::string_view uid, const std::vector<cpu_need>& needs) const {
  int of_main = 0, of_sidecars = 0, of_init = 0;
  cpu_set assigned;
  for (auto& n : needs) {
    if (!n.is_init)
      of_main += n.count;
    else if (n.stays)
      of_sidecars += n.count;
    else
      of_init = std::max(of_init, of_sidecars + n.count);
    auto* has = own(uid, n.container);
    if (!has) continue;
    if (static_cast<int>(has->size()) != n.count) return {{"cpu", std::vector<numa_hint>()}};
    assigned = together(std::move(assigned), *has);
  }
  const auto count = std::max(of_init, of_main + of_sidecars);
  if (count == 0) return {};
  if (static_cast<int>(assigned.size()) == count) return {{"cpu", places(assigned, {}, count)}};
  return {{"cpu", places(difference(shared_, reserved_), assigned, count)}};
}

result<void> cpu_ledger::give(std::string_view uid, const std::vector<cpu_need>& needs, std::string_view container,
                              const std::optional<numa_mask>& near) {
  auto need = std::ranges::find(needs, container, &cpu_need::container);
  if (need == needs.end() || own(uid, container)) return {};
  KEDGE_CHECK(check_whole_cores(need->count));
  auto free = together(difference(shared_, reserved_), reusable(uid, needs, container));
  cpu_set chosen;
  if (near) {
    auto aligned = near_to(*near, free);
    if (auto n = std::min(need->count, static_cast<int>(aligned.size())); n > 0) {
      KEDGE_TRY(chosen, choose(aligned, n));
    }
  }
  if (auto rest = need->count - static_cast<int>(chosen.size()); rest > 0) {
    KEDGE_TRY(auto more, choose(difference(free, chosen), rest));
    chosen = together(std::move(chosen), more);
  }
  shared_ = difference(shared_, chosen);
  given_[std::string(uid)].insert_or_assign(need->container, std::move(chosen));
  return {};
}

bool cpu_ledger::keep_only(const std::set<std::string, std::less<>>& uids) {
  return std::erase_if(given_, [&](auto& one) {
           if (uids.contains(one.first)) return false;
           for (auto& [name, cpus] : one.second) shared_.insert(cpus.begin(), cpus.end());
           return true;
         }) > 0;
}

const cpu_set* cpu_ledger::own(std::string_view uid, std::string_view container) const {
  auto pod = given_.find(uid);
  if (pod == given_.end()) return nullptr;
  auto c = pod->second.find(container);
  return c == pod->second.end() ? nullptr : &c->second;
}

std::string cpu_ledger::checkpoint() const {
  value file(object{{"policyName", "static"}, {"defaultCpuSet", text_of(shared_)}});
  value entries{object{}};
  for (auto& [uid, containers] : given_) {
    value of_pod{object{}};
    for (auto& [name, cpus] : containers) of_pod.set(name, text_of(cpus));
    entries.set(uid, std::move(of_pod));
  }
  if (!given_.empty()) file.set("entries", std::move(entries));
  auto data = json::write(file);
  file.set("checksum", checksum_of(file));
  file.set("dataChecksum", fnv1a("(string)" + data));
  file.set("data", std::move(data));
  return json::write(file);
}

result<void> cpu_ledger::restore(std::string_view text) {
  KEDGE_TRY(auto file, json::parse(text));
  if (file["checksum"].as_integer() != 0 && file["checksum"].as_integer() != checksum_of(file))
    return fail(errc::corrupt, "checkpoint is corrupted");
  auto* entries = file["entries"].object();
  if (file["policyName"].as_string() != "static") {
    if (!entries || entries->empty()) return {};  // nothing was given: the other policy gives nothing
    return fail(errc::conflict, fmt::format("configured policy \"static\" differs from state checkpoint policy \"{}\"",
                                            file["policyName"].as_string()));
  }
  auto shared = parse_cpus(file["defaultCpuSet"].as_string());
  if (!shared) return fail(errc::corrupt, "defaultCpuSet is no list of CPUs");
  decltype(given_) given;
  auto known = *shared;
  if (entries)
    for (auto& [uid, containers] : *entries)
      if (auto* all = containers.object())
        for (auto& [name, cpus] : *all) {
          auto own = parse_cpus(cpus.as_string());
          if (!own || own->empty()) return fail(errc::corrupt, fmt::format("{} of {} is no list of CPUs", name, uid));
          if (!intersection(known, *own).empty() && !intersection(*shared, *own).empty())
            return fail(errc::conflict,
                        fmt::format("pod: {}, container: {} cpuset: \"{}\" overlaps with default cpuset \"{}\"", uid,
                                    name, text_of(*own), text_of(*shared)));
          known = together(std::move(known), *own);
          given[uid][name] = *std::move(own);
        }
  if (shared->empty() && !given.empty()) return fail(errc::conflict, "default cpuset cannot be empty");
  if (shared->empty()) return {};
  auto all = settings_.strict ? difference(topology_.cpus(), reserved_) : topology_.cpus();
  if (settings_.strict && !intersection(reserved_, *shared).empty())
    return fail(errc::conflict,
                fmt::format("some of strictly reserved cpus: \"{}\" are present in defaultCpuSet: \"{}\"",
                            text_of(intersection(reserved_, *shared)), text_of(*shared)));
  if (!settings_.strict && !difference(reserved_, *shared).empty())
    return fail(errc::conflict, fmt::format("not all reserved cpus: \"{}\" are present in defaultCpuSet: \"{}\"",
                                            text_of(reserved_), text_of(*shared)));
  if (known != all)
    return fail(errc::conflict, fmt::format("current set of available CPUs \"{}\" doesn't match with CPUs in state "
                                            "\"{}\"",
                                            text_of(all), text_of(known)));
  shared_ = *std::move(shared);
  given_ = std::move(given);
  return {};
}

}  // namespace kedge::node
