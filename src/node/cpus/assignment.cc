#include "node/cpus/assignment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

namespace kedge::node {

namespace {

using enum cpu_level;

// What is free, and what is being taken of it.
class accumulator {
 public:
  accumulator(const cpu_topology& topology, const cpu_set& available, int needed, bool spread)
      : topology_(topology), needed_(needed), spread_(spread) {
    for (auto cpu : available)
      if (auto p = topology.places.find(cpu); p != topology.places.end()) free_.insert(*p);
    // The larger of both comes first.
    numa_first_ = topology.ids(socket).size() >= topology.ids(numa).size();
  }

  bool satisfied() const { return needed_ < 1; }
  bool failed() const { return needed_ > static_cast<int>(free_.size()); }
  int needed() const { return needed_; }
  const cpu_set& taken() const { return taken_; }
  std::size_t free_nodes() const { return ids(numa).size(); }

  cpu_set cpus_of(cpu_level level, int id) const {
    cpu_set out;
    for (auto& [cpu, place] : free_)
      if (of_level(place, level) == id) out.insert(cpu);
    return out;
  }
  int count(cpu_level level, int id) const { return static_cast<int>(cpus_of(level, id).size()); }

  std::vector<int> sorted_nodes() const { return numa_first_ ? sorted(numa) : within(sorted(socket), socket, numa); }
  std::vector<int> sorted_sockets() const { return numa_first_ ? within(sorted(numa), numa, socket) : sorted(socket); }

  void take(const cpu_set& cpus) {
    for (auto cpu : cpus) free_.erase(cpu);
    taken_.insert(cpus.begin(), cpus.end());
    needed_ -= static_cast<int>(cpus.size());
  }

  void take_whole_levels() {
    take_whole(numa_first_ ? numa : socket);
    if (!satisfied()) take_whole(numa_first_ ? socket : numa);
  }

  void take_caches() {
    const auto in_cache = topology_.per(cache);
    for (auto id : sorted_caches()) {
      if (needed_ >= in_cache) take_whole(cache);
      if (satisfied()) return;
      take_part_of_cache(id);
      if (satisfied()) return;
    }
  }

  void take_cores() { take_whole(core); }

  void take_single() {
    for (auto cpu : sorted_cpus()) {
      take({cpu});
      if (satisfied()) return;
    }
  }

 private:
  std::set<int> ids(cpu_level level) const {
    std::set<int> out;
    for (auto& [cpu, place] : free_) out.insert(of_level(place, level));
    return out;
  }
  // Those with the fewest free CPUs first, then by number.
  std::vector<int> by_free(cpu_level level, const std::set<int>& ids) const {
    std::vector<std::pair<int, int>> all;
    for (auto id : ids) all.emplace_back(count(level, id), id);
    std::ranges::sort(all);
    std::vector<int> out;
    for (auto& [n, id] : all) out.push_back(id);
    return out;
  }
  std::vector<int> sorted(cpu_level level) const { return by_free(level, ids(level)); }
  // Of each of `outer`, in their order, what it has of `level`.
  std::vector<int> within(const std::vector<int>& outer, cpu_level of, cpu_level level) const {
    std::vector<int> out;
    for (auto id : outer) {
      std::set<int> inner;
      for (auto& [cpu, place] : free_)
        if (of_level(place, of) == id) inner.insert(of_level(place, level));
      for (auto one : by_free(level, inner)) out.push_back(one);
    }
    return out;
  }
  std::vector<int> sorted_caches() const { return within(sorted_nodes(), numa, cache); }
  std::vector<int> sorted_cores() const {
    return numa_first_ ? within(sorted_sockets(), socket, core) : within(sorted_nodes(), numa, core);
  }
  std::vector<int> sorted_cpus() const {
    std::vector<int> out;
    auto add = [&](const cpu_set& cpus) { out.insert(out.end(), cpus.begin(), cpus.end()); };
    if (spread_)
      for (auto id : sorted_sockets()) add(cpus_of(socket, id));
    else
      for (auto id : sorted_cores()) add(cpus_of(core, id));
    return out;
  }
  std::vector<int> sorted_of(cpu_level level) const {
    switch (level) {
      case numa: return sorted_nodes();
      case socket: return sorted_sockets();
      case cache: return sorted_caches();
      case core: return sorted_cores();
    }
    return {};
  }
  // As many of that level as are free as a whole, and as are needed.
  void take_whole(cpu_level level) {
    const bool averaged = level == socket || level == core;  // the kubelet takes all of these for equally large
    std::vector<int> whole;
    for (auto id : sorted_of(level))
      if (count(level, id) == (averaged ? topology_.per(level) : static_cast<int>(topology_.cpus_of(level, id).size())))
        whole.push_back(id);
    for (auto id : whole) {
      auto cpus = topology_.cpus_of(level, id);
      if (needed_ >= static_cast<int>(cpus.size())) take(cpus);
    }
  }
  // What is needed, where its cores' free CPUs are just that many.
  void take_part_of_cache(int id) {
    const auto per_core = topology_.per(core);
    auto cores_needed = (needed_ + per_core - 1) / per_core;
    std::set<int> cores;
    for (auto& [cpu, place] : free_)
      if (place.cache == id) cores.insert(place.core);
    cpu_set cpus;
    for (auto c : cores) {
      if (cores_needed-- <= 0) break;
      cpus = together(std::move(cpus), cpus_of(core, c));
    }
    if (needed_ % 2 != 0 && per_core > 1 && static_cast<int>(cpus.size()) > needed_) cpus.erase(std::prev(cpus.end()));
    if (static_cast<int>(cpus.size()) == needed_) take(cpus);
  }

  const cpu_topology& topology_;
  std::map<int, cpu_place> free_;
  int needed_;
  bool spread_, numa_first_ = false;
  cpu_set taken_;
};

std::unexpected<error> too_few(int count, std::size_t available) {
  return fail(errc::exhausted, fmt::format("not enough cpus available to satisfy request: requested={}, available={}",
                                           count, available));
}

result<cpu_set> choose_packed(const cpu_topology& topology, const cpu_set& available, int count, bool spread,
                              bool by_cache) {
  accumulator a(topology, available, count, spread);
  if (a.satisfied()) return a.taken();
  if (a.failed()) return too_few(count, available.size());
  a.take_whole_levels();
  if (!a.satisfied() && by_cache) a.take_caches();
  if (!a.satisfied() && !spread) a.take_cores();
  if (!a.satisfied()) a.take_single();
  if (!a.satisfied()) return fail(errc::internal, "failed to allocate cpus");
  return a.taken();
}

// --- evenly over NUMA nodes (KEP-2902)

// A list as the kubelet's Go code grows one: two that were made of the same beginning share their room, so that what is
// put behind it for one is seen in the other. Which combination it remembers as its best hangs on that.
class grown_list {
 public:
  std::size_t size() const { return size_; }
  int operator[](std::size_t i) const { return (*room_)[i]; }
  grown_list with(int n) const {
    grown_list out = *this;
    if (size_ == (room_ ? room_->size() : 0)) {
      out.room_ = std::make_shared<std::vector<int>>(size_ == 0 ? 1 : size_ * 2);
      for (std::size_t i = 0; i < size_; ++i) (*out.room_)[i] = (*room_)[i];
    }
    (*out.room_)[out.size_++] = n;
    return out;
  }
  std::vector<int> values() const {
    return room_ ? std::vector<int>(room_->begin(), room_->begin() + static_cast<std::ptrdiff_t>(size_))
                 : std::vector<int>();
  }

 private:
  std::shared_ptr<std::vector<int>> room_;
  std::size_t size_ = 0;
};

// Each subset of so many; `each` gives false to end it.
bool combinations(const std::vector<int>& of, std::size_t count, std::size_t from, const grown_list& begun,
                  const std::function<bool(const grown_list&)>& each) {
  if (count == 0) return each(begun);
  for (auto i = from; i + count <= of.size(); ++i)
    if (!combinations(of, count - 1, i + 1, begun.with(of[i]), each)) return false;
  return true;
}

double thousandths(double x) { return std::round(x * 1000) / 1000; }
double deviation(const std::map<int, int>& of) {
  double sum = 0, squares = 0;
  for (auto& [id, n] : of) sum += n;
  auto mean = thousandths(sum / static_cast<double>(of.size()));
  for (auto& [id, n] : of) squares += (n - mean) * (n - mean);
  return thousandths(std::sqrt(squares / static_cast<double>(of.size())));
}

constexpr double none = std::numeric_limits<double>::max();

struct combination {
  double balance = none;
  grown_list nodes, remainder;
  bool in_one_socket = false;
};

class distributor {
 public:
  distributor(const cpu_topology& topology, const accumulator& a, int count, const cpu_preferences& p)
      : topology_(topology), a_(a), count_(count), p_(p), nodes_(a.sorted_nodes()) {}

  const std::vector<int>& nodes() const { return nodes_; }

  // How many of each of these nodes.
  int share(const std::vector<int>& nodes, bool bounded) const {
    auto out = count_ / static_cast<int>(nodes.size()) / p_.group * p_.group;
    if (bounded)
      for (auto n : nodes) out = std::min(out, a_.count(numa, n) / p_.group * p_.group);
    return out;
  }

  combination best_of(std::size_t size) const {
    combination best;
    combinations(nodes_, size, 0, {}, [&](const grown_list& nodes) {
      if (best.balance == 0 && (!p_.by_socket || best.in_one_socket)) return false;
      consider(nodes, best);
      return true;
    });
    return best;
  }

 private:
  void consider(const grown_list& list, combination& best) const {
    auto nodes = list.values();
    int free = 0, groups = 0;
    for (auto n : nodes) {
      free += a_.count(numa, n);
      groups += a_.count(numa, n) / p_.group;
    }
    if (free < count_ || groups * p_.group < count_) return;
    const auto each = share(nodes, p_.by_socket);
    if (std::ranges::any_of(nodes, [&](auto n) { return a_.count(numa, n) < each; })) return;
    std::map<int, int> left;
    for (auto n : nodes_) left[n] = a_.count(numa, n);
    for (auto n : nodes) left[n] -= each;
    const auto remainder = count_ - each * static_cast<int>(nodes.size());
    auto [balance, where] = place_remainder(nodes, left, remainder);
    bool better = balance < best.balance, one_socket = false;
    if (p_.by_socket) {
      std::set<int> sockets;
      for (auto& [cpu, place] : topology_.places)
        if (std::ranges::find(nodes, place.numa) != nodes.end()) sockets.insert(place.socket);
      one_socket = sockets.size() <= 1;
      if (one_socket != best.in_one_socket) better = one_socket;
    }
    if (better) best = {balance, list, where, one_socket};
  }

  std::pair<double, grown_list> place_remainder(const std::vector<int>& nodes, const std::map<int, int>& left,
                                                int remainder) const {
    if (remainder == 0) return {deviation(left), {}};
    std::pair<double, grown_list> best{none, {}};
    std::vector<int> able;
    for (auto n : nodes)
      if (left.at(n) >= p_.group) able.push_back(n);
    for (auto size = able.size(); size >= 1; --size)
      combinations(able, size, 0, {}, [&](const grown_list& subset) {
        auto now = left;
        int room = 0;
        for (std::size_t i = 0; i < subset.size(); ++i) room += now[subset[i]];
        if (room < remainder) return true;
        for (auto rest = remainder; rest > 0;) {
          auto before = rest;
          for (std::size_t i = 0; i < subset.size() && rest > 0; ++i) {
            if (now[subset[i]] < p_.group) continue;
            now[subset[i]] -= p_.group;
            rest -= p_.group;
          }
          if (rest == before) break;  // nobody has a whole group left
        }
        if (auto balance = deviation(now); balance < best.first) best = {balance, subset};
        return true;
      });
    return best;
  }

  const cpu_topology& topology_;
  const accumulator& a_;
  int count_;
  const cpu_preferences& p_;
  std::vector<int> nodes_;
};

result<cpu_set> choose_distributed(const cpu_topology& topology, const cpu_set& available, int count,
                                   const cpu_preferences& p) {
  auto packed = [&](const cpu_set& of, int n) { return choose_packed(topology, of, n, p.spread, false); };
  if (count % p.group != 0) return packed(available, count);
  accumulator a(topology, available, count, p.spread);
  if (a.satisfied()) return a.taken();
  if (a.failed()) return too_few(count, available.size());
  const distributor d(topology, a, count, p);
  // How many nodes it takes, of groups that can't be torn apart.
  auto up = [](int n, int by) { return (n - 1) / by + 1; };
  auto per_node =
      up(up(static_cast<int>(topology.places.size()), p.group), static_cast<int>(topology.ids(numa).size()));
  auto groups = up(count, p.group);
  auto least = up(groups, per_node), most = std::min(groups, static_cast<int>(a.free_nodes()));
  for (auto size = least; size <= most; ++size) {
    auto best = d.best_of(static_cast<std::size_t>(size));
    if (best.nodes.size() == 0) continue;
    auto nodes = best.nodes.values();
    const auto each = d.share(nodes, true);
    auto from = [&](int node, int n) {
      if (auto cpus = packed(a.cpus_of(numa, node), n)) a.take(*cpus);
    };
    for (auto n : nodes) from(n, each);
    for (auto rest = count - each * static_cast<int>(nodes.size()); rest > 0;) {
      auto before = rest;
      for (auto n : best.remainder.values()) {
        if (rest == 0) break;
        if (a.count(numa, n) < p.group) continue;
        from(n, p.group);
        rest -= p.group;
      }
      if (rest == before) break;
    }
    if (a.needed() != 0)
      return fail(errc::internal, fmt::format("accounting error, {} CPUs allocated, remaining: {}",
                                              a.needed() > 0 ? "not enough" : "too many", a.needed()));
    return a.taken();
  }
  return packed(available, count);
}

}  // namespace

result<cpu_set> choose_cpus(const cpu_topology& topology, const cpu_set& available, int count,
                            const cpu_preferences& p) {
  return p.over_numa ? choose_distributed(topology, available, count, p)
                     : choose_packed(topology, available, count, p.spread, p.by_cache);
}

}  // namespace kedge::node
