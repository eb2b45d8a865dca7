#include "node/numa/memory_ledger.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/limits.h"
#include "pod/amounts.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;

numa_mask mask_of_all(const std::vector<int>& nodes) {
  numa_mask out = 0;
  for (auto n : nodes) out |= mask_of(n);
  return out;
}

// As the kubelet names pages of so many bytes.
std::string hugepages_name(std::uint64_t size) {
  return "hugepages-" +
         schema::quantity::of(static_cast<std::int64_t>(size), schema::quantity::format::binary_si).text();
}

const numa_hint* best_of(const std::vector<numa_hint>& hints) {
  const numa_hint* best = nullptr;
  for (auto& h : hints)
    if (!best || (h.preferred && !best->preferred) ||
        (h.preferred == best->preferred && is_narrower(*h.nodes, *best->nodes)))
      best = &h;
  return best;
}

// The most of the kinds that a pod's containers ask for at any time.
memory_amounts most_of(const std::vector<memory_need>& needs) {
  memory_amounts of_init, of_sidecars, of_main;
  for (auto& n : needs)
    for (auto& [type, size] : n.asked) {
      if (!n.is_init) {
        of_main[type] += size;
      } else if (n.stays) {
        of_sidecars[type] += size;
      } else {
        auto& most = of_init[type];
        most = std::max(most, of_sidecars[type] + size);
      }
    }
  memory_amounts out;
  for (auto& [type, size] : of_main) out[type] = std::max(size + of_sidecars[type], of_init[type]);
  return out;
}

// Those of what a container has already.
hints_by_resource hints_again(const std::vector<memory_block>& blocks, const memory_amounts& asked) {
  hints_by_resource out;
  if (blocks.size() != asked.size()) return out;
  for (auto& [type, size] : asked) out[type] = std::vector<numa_hint>();
  for (auto& b : blocks) {
    auto want = asked.find(b.type);
    if (want == asked.end() || want->second != b.size) return {};
    out[b.type]->push_back({mask_of_all(b.nodes), true});
  }
  return out;
}

hints_by_resource for_each_type(const std::vector<numa_hint>& places, const memory_amounts& asked) {
  hints_by_resource out;
  if (places.empty()) return out;
  for (auto& [type, size] : asked) out[type] = places;
  return out;
}

}  // namespace

bool is_memory_type(std::string_view name) { return name == "memory" || name.starts_with("hugepages-"); }

result<memory_ledger> memory_ledger::make(const numa_nodes& nodes, const memory_manager_settings& settings,
                                          const pod::amounts& kept) {
  if (nodes.size() > std::size_t(numa_nodes_most))
    return fail(errc::unsupported,
                fmt::format("machines with more than {} NUMA nodes are unsupported", numa_nodes_most));
  pod::amounts reserved;
  std::map<int, memory_amounts> of_node;
  for (auto& r : settings.reserved) {
    if (!nodes.contains(r.node))
      return fail(errc::invalid,
                  fmt::format("the reserved memory configuration references a NUMA node {} that does not exist on this "
                              "machine",
                              r.node));
    pod::add(reserved, r.limits);
    for (auto& [type, amount] : r.limits) of_node[r.node][type] = static_cast<std::uint64_t>(amount.value());
  }
  auto both = reserved;
  pod::add(both, kept);
  for (auto& [type, unused] : both) {
    if (!is_memory_type(type)) continue;
    auto amount = [&](const pod::amounts& of) {
      auto found = of.find(type);
      return found == of.end() ? schema::quantity() : found->second;
    };
    if (amount(reserved) == amount(kept)) continue;
    return fail(
        errc::invalid,
        fmt::format("the total amount \"{}\" of type \"{}\" is not equal to the value \"{}\" determined by Node "
                    "Allocatable feature",
                    amount(reserved).text(), type, amount(kept).text()));
  }
  if (auto memory = reserved.find("memory"); memory == reserved.end() || memory->second.sign() <= 0)
    return fail(errc::invalid, "[memorymanager] you should specify the system reserved memory");
  memory_ledger out;
  for (auto& [id, node] : nodes) {
    out.nodes_ |= mask_of(id);
    auto& state = out.empty_[id];
    state.cells = {id};
    std::uint64_t in_hugepages = 0;
    auto add = [&](const std::string& type, std::uint64_t total, std::uint64_t has) {
      auto keeps = of_node[id][type];
      has -= std::min(has, keeps);
      state.memory[type] = {.total = total, .system_reserved = keeps, .allocatable = has, .reserved = 0, .free = has};
    };
    for (auto& [size, bytes] : node.hugepages) {
      add(hugepages_name(size), bytes, bytes);
      in_hugepages += bytes;
    }
    add("memory", node.memory, node.memory - std::min(node.memory, in_hugepages));
  }
  out.state_ = out.empty_;
  return out;
}

std::uint64_t memory_ledger::sum(numa_mask nodes, std::string_view type, std::uint64_t table::* of) const {
  std::uint64_t out = 0;
  for (auto n : nodes_of(nodes))
    if (auto node = state_.find(n); node != state_.end())
      if (auto t = node->second.memory.find(type); t != node->second.memory.end()) out += t->second.*of;
  return out;
}

std::uint64_t memory_ledger::reusable(std::string_view uid, numa_mask nodes, std::string_view type) const {
  auto pod = reusable_.find(uid);
  if (pod == reusable_.end()) return 0;
  auto there = pod->second.find(nodes);
  if (there == pod->second.end()) return 0;
  auto amount = there->second.find(type);
  return amount == there->second.end() ? 0 : amount->second;
}

bool memory_ledger::is_enough(numa_mask nodes, const memory_amounts& asked) const {
  return std::ranges::all_of(asked, [&](auto& a) { return sum(nodes, a.first, &table::free) >= a.second; });
}

// A node that somebody has alone isn't shared, and one that is, only with the same others.
bool memory_ledger::is_torn(numa_mask nodes) const {
  if (count_of(nodes) == 1) return false;
  for (auto n : nodes_of(nodes)) {
    auto& node = state_.at(n);
    if (node.assignments > 0 && (node.cells.size() == 1 || mask_of_all(node.cells) != nodes)) return true;
  }
  return false;
}

// The sets of nodes that have so much; preferred are those of as few nodes as would do on an empty machine.
std::vector<numa_hint> memory_ledger::places(std::string_view uid, const memory_amounts& asked) const {
  std::vector<numa_hint> out;
  int least = count_of(nodes_);
  each_subset(nodes_, [&](numa_mask m) {
    for (auto& [type, size] : asked)
      if (sum(m, type, &table::allocatable) < size) return;
    least = std::min(least, count_of(m));
    if (count_of(m) == 1 && state_.at(nodes_of(m)[0]).cells.size() > 1) return;
    if (is_torn(m)) return;
    for (auto& [type, size] : asked)
      if (sum(m, type, &table::free) + reusable(uid, m, type) < size) return;
    out.push_back({m, false});
  });
  for (auto& h : out) h.preferred = count_of(*h.nodes) == least;
  return out;
}

hints_by_resource memory_ledger::hints(std::string_view uid, const memory_need& need) const {
  if (!need.is_whole || need.asked.empty()) return {};
  if (auto* has = find(uid, need.container)) return hints_again(*has, need.asked);
  return for_each_type(places(uid, need.asked), need.asked);
}

hints_by_resource memory_ledger::pod_hints(std::string_view uid, const std::vector<memory_need>& needs) const {
  if (std::ranges::any_of(needs, [](auto& n) { return !n.is_whole; })) return {};
  auto asked = most_of(needs);
  if (asked.empty()) return {};
  for (auto& n : needs)
    if (auto* has = find(uid, n.container)) return hints_again(*has, asked);
  return for_each_type(places(uid, asked), asked);
}

// What an init container has, those behind it may have, too, until they do.
void memory_ledger::use_again(std::string_view uid, const memory_need& need, const of_container& blocks) {
  const bool ends = need.is_init && !need.stays;
  for (auto& b : blocks) {
    auto nodes = mask_of_all(b.nodes);
    if (ends) {
      auto& most = reusable_[std::string(uid)][nodes][b.type];
      most = std::max(most, b.size);
    } else if (auto left = reusable(uid, nodes, b.type); left > 0) {
      reusable_[std::string(uid)][nodes][b.type] = left - std::min(left, b.size);
    }
  }
}

// So that a pod's containers together have what is taken of the nodes.
void memory_ledger::shrink_init(std::string_view uid, const std::vector<memory_need>& needs, const memory_need& need,
                                const of_container& blocks) {
  auto& of_pod = given_.find(uid)->second;
  for (auto& b : blocks) {
    auto left = b.size;
    for (auto& n : needs) {
      if (n.container == need.container || !n.is_init || left == 0) break;
      auto has = of_pod.find(n.container);
      if (n.stays || has == of_pod.end()) continue;
      for (auto& own : has->second) {
        if (own.type != b.type || own.nodes != b.nodes) continue;
        auto taken = std::min(own.size, left);
        own.size -= taken;
        left -= taken;
      }
    }
  }
}

void memory_ledger::take(machine_state& state, const std::vector<int>& nodes, const std::string& type,
                         std::uint64_t size) {
  for (auto n : nodes) {
    auto& node = state[n];
    ++node.assignments;
    node.cells = nodes;
    auto& t = node.memory[type];
    auto taken = std::min(t.free, size);
    t.free -= taken;
    t.reserved += taken;
    size -= taken;
  }
}

void memory_ledger::release(const of_container& blocks) {
  for (auto& b : blocks) {
    auto left = b.size;
    for (auto n : b.nodes) {
      auto& node = state_[n];
      if (--node.assignments == 0) node.cells = {n};
      auto& t = node.memory[b.type];
      auto freed = std::min(t.reserved, left);
      t.reserved -= freed;
      t.free += freed;
      left -= freed;
    }
  }
}

result<void> memory_ledger::give(std::string_view uid, const std::vector<memory_need>& needs,
                                 std::string_view container, const numa_hint& near) {
  auto need = std::ranges::find(needs, container, &memory_need::container);
  if (need == needs.end()) return {};
  if (!need->is_whole) return fail(errc::invalid, "[memorymanager] failed to represent quantity as int64");
  if (need->asked.empty()) return {};
  if (auto* has = find(uid, container)) {
    use_again(uid, *need, *has);
    return {};
  }
  auto best = near;
  if (!best.nodes) {
    auto all = places(uid, need->asked);
    auto* found = best_of(all);
    if (!found)
      return fail(errc::exhausted,
                  "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is "
                  "available");
    if (!found->preferred && near.preferred)
      return fail(errc::exhausted, "[memorymanager] failed to find the default preferred hint");
    best = *found;
  }
  if (!is_enough(*best.nodes, need->asked)) {
    auto wider = places(uid, need->asked);
    std::erase_if(wider, [&](auto& h) { return (*best.nodes & ~*h.nodes) != 0; });
    auto* found = best_of(wider);
    if (!found)
      return fail(errc::exhausted, "[memorymanager] failed to find NUMA nodes to extend the current topology hint");
    if (!found->preferred && best.preferred)
      return fail(errc::exhausted, "[memorymanager] failed to find the extended preferred hint");
    best = *found;
  }
  if (is_torn(*best.nodes))
    return fail(errc::exhausted, "[memorymanager] preferred hint violates NUMA node allocation");
  of_container blocks;
  auto nodes = nodes_of(*best.nodes);
  for (auto& [type, size] : need->asked) {
    blocks.push_back({nodes, type, size});
    take(state_, nodes, type, size - std::min(size, reusable(uid, *best.nodes, type)));
  }
  use_again(uid, *need, blocks);
  given_[std::string(uid)].insert_or_assign(need->container, blocks);
  shrink_init(uid, needs, *need, blocks);
  return {};
}

void memory_ledger::given_all(std::string_view uid) {
  if (auto pod = reusable_.find(uid); pod != reusable_.end()) reusable_.erase(pod);
}

bool memory_ledger::begins(std::string_view uid, const std::vector<memory_need>& needs, std::string_view container) {
  auto pod = given_.find(uid);
  if (pod == given_.end()) return false;
  bool any = false;
  for (auto& n : needs) {
    if (n.container == container || !n.is_init) break;
    auto has = pod->second.find(n.container);
    if (n.stays || has == pod->second.end()) continue;
    release(has->second);
    pod->second.erase(has);
    any = true;
  }
  return any;
}

bool memory_ledger::keep_only(const std::set<std::string, std::less<>>& uids) {
  std::erase_if(reusable_, [&](auto& one) { return !uids.contains(one.first); });
  return std::erase_if(given_, [&](auto& one) {
           if (uids.contains(one.first)) return false;
           for (auto& [name, blocks] : one.second) release(blocks);
           return true;
         }) > 0;
}

const std::vector<memory_block>* memory_ledger::find(std::string_view uid, std::string_view container) const {
  auto pod = given_.find(uid);
  if (pod == given_.end()) return nullptr;
  auto c = pod->second.find(container);
  return c == pod->second.end() ? nullptr : &c->second;
}

std::vector<memory_block> memory_ledger::allocatable() const {
  std::vector<memory_block> out;
  for (auto& [id, node] : state_)
    for (auto& [type, t] : node.memory)
      if (t.allocatable > 0) out.push_back({{id}, type, t.allocatable});
  return out;
}

// --- the file

namespace {

json::array list_of(const std::vector<int>& numbers) {
  json::array out;
  for (auto n : numbers) out.push_back(std::int64_t(n));
  return out;
}

std::vector<int> numbers_of(const value& list) {
  std::vector<int> out;
  if (auto* all = list.array())
    for (auto& n : *all) out.push_back(static_cast<int>(n.as_integer(-1)));
  return out;
}

std::int64_t fnv1a(std::string_view text) {
  std::uint32_t h = 2'166'136'261U;
  for (unsigned char c : text) h = (h ^ c) * 16'777'619U;
  return h;
}

}  // namespace

std::string memory_ledger::checkpoint() const {
  value machine{object{}}, entries{object{}};
  for (auto& [id, node] : state_) {
    value memory{object{}};
    for (auto& [type, t] : node.memory) {
      auto n = [](std::uint64_t v) { return static_cast<std::int64_t>(v); };
      memory.set(type, object{{"total", n(t.total)},
                              {"systemReserved", n(t.system_reserved)},
                              {"allocatable", n(t.allocatable)},
                              {"reserved", n(t.reserved)},
                              {"free", n(t.free)}});
    }
    machine.set(std::to_string(id), object{{"numberOfAssignments", std::int64_t(node.assignments)},
                                           {"memoryMap", std::move(memory)},
                                           {"cells", list_of(node.cells)}});
  }
  for (auto& [uid, containers] : given_) {
    value of_pod{object{}};
    for (auto& [name, blocks] : containers) {
      json::array all;
      for (auto& b : blocks)
        all.push_back(
            object{{"numaAffinity", list_of(b.nodes)}, {"type", b.type}, {"size", static_cast<std::int64_t>(b.size)}});
      of_pod.set(name, std::move(all));
    }
    entries.set(uid, std::move(of_pod));
  }
  value file(object{{"policyName", "Static"}, {"machineState", std::move(machine)}});
  if (!given_.empty()) file.set("entries", std::move(entries));
  auto data = json::write(file);
  file.set("checksum", std::int64_t(0));  // of older kubelets, which pass over one that is none
  file.set("dataChecksum", fnv1a("(string)" + data));
  file.set("data", std::move(data));
  return json::write(file);
}

// Whether it is a state of this machine, with these settings.
bool memory_ledger::is_of_machine(const value& machine) const {
  if (machine.size() != empty_.size()) return false;
  return std::ranges::all_of(empty_, [&](auto& n) {
    auto& memory = machine[std::to_string(n.first)]["memoryMap"];
    return memory.size() == n.second.memory.size() && std::ranges::all_of(n.second.memory, [&](auto& m) {
             auto& t = memory[m.first];
             auto is = [&](const char* name, std::uint64_t v) {
               return t[name].is_integer() && static_cast<std::uint64_t>(t[name].as_integer()) == v;
             };
             return is("total", m.second.total) && is("systemReserved", m.second.system_reserved) &&
                    is("allocatable", m.second.allocatable);
           });
  });
}

result<void> memory_ledger::restore(std::string_view text) {
  KEDGE_TRY(auto file, json::parse(text));
  if (file["data"].is_string()) {
    auto data = std::string(file["data"].as_string());
    if (file["dataChecksum"].as_integer() != fnv1a("(string)" + data))
      return fail(errc::corrupt, "checkpoint is corrupted");
    KEDGE_TRY(file, json::parse(data));
  }
  if (file["policyName"].as_string() != "Static")
    return fail(errc::conflict,
                fmt::format("[memorymanager] configured policy \"Static\" differs from state checkpoint policy \"{}\"",
                            file["policyName"].as_string()));
  auto* entries = file["entries"].object();
  auto& machine = file["machineState"];
  if (machine.empty()) {
    if (entries && !entries->empty())
      return fail(errc::conflict, "[memorymanager] machine state can not be empty when it has memory assignments");
    return {};
  }
  if (!is_of_machine(machine))
    return fail(errc::conflict, "[memorymanager] the expected machine state is different from the real one");
  // What is free is counted anew: the kubelet's own count forgets groups of nodes, and then refuses its file.
  auto counted = empty_;
  decltype(given_) given;
  if (entries)
    for (auto& [uid, containers] : *entries)
      if (auto* all = containers.object())
        for (auto& [name, blocks] : *all) {
          auto& own = given[uid][name];
          auto* list = blocks.array();
          if (!list) return fail(errc::corrupt, fmt::format("{} of {} is no list of blocks", name, uid));
          for (auto& b : *list) {
            memory_block block{numbers_of(b["numaAffinity"]), std::string(b["type"].as_string()),
                               static_cast<std::uint64_t>(b["size"].as_integer())};
            for (auto n : block.nodes) {
              if (!counted.contains(n))
                return fail(errc::conflict,
                            fmt::format("[memorymanager] (pod: {}, container: {}) the memory assignment uses the NUMA "
                                        "that does not exist",
                                        uid, name));
              if (!counted[n].memory.contains(block.type))
                return fail(errc::conflict,
                            fmt::format("[memorymanager] (pod: {}, container: {}) the memory assignment uses memory "
                                        "resource that does not exist",
                                        uid, name));
            }
            take(counted, block.nodes, block.type, block.size);
            own.push_back(std::move(block));
          }
        }
  state_ = std::move(counted);
  given_ = std::move(given);
  return {};
}

}  // namespace kedge::node
