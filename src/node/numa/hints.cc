#include "node/numa/hints.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace kedge::node {

namespace {

using policy = topology_manager_settings::policy_kind;
using hint_list = std::vector<numa_hint>;

// What each resource may have, one list a resource: who doesn't mind has one hint that says so.
std::vector<hint_list> lists_of(const std::vector<hints_by_resource>& of_providers) {
  std::vector<hint_list> out;
  for (auto& resources : of_providers) {
    if (resources.empty()) out.push_back({{std::nullopt, true}});
    for (auto& [name, hints] : resources) {
      if (!hints || hints->empty())
        out.push_back({{std::nullopt, !hints}});
      else
        out.push_back(*hints);
    }
  }
  return out;
}

// Those of one node that are preferred.
void keep_single(std::vector<hint_list>& lists) {
  for (auto& list : lists)
    std::erase_if(list, [](auto& h) { return !h.preferred || (h.nodes && count_of(*h.nodes) != 1); });
}

// How many nodes the resource needs that needs most of them.
int greatest_need(const std::vector<hint_list>& lists) {
  int out = 0;
  for (auto& list : lists) {
    std::optional<numa_mask> narrowest;
    for (auto& h : list)
      if (h.nodes && (!narrowest || is_narrower(*h.nodes, *narrowest))) narrowest = h.nodes;
    if (narrowest) out = std::max(out, count_of(*narrowest));
  }
  return out;
}

// The sets that all lists prefer alike: what is preferred is so only when nobody has to be elsewhere than the others.
std::set<numa_mask> preferred_by_all(const std::vector<hint_list>& lists, numa_mask all) {
  std::optional<std::set<numa_mask>> common;  // nullopt: nobody minds so far
  for (auto& list : lists) {
    std::set<numa_mask> liked;
    bool any = false;
    for (auto& h : list) {
      if (!h.preferred) continue;
      if (h.nodes)
        liked.insert(*h.nodes);
      else
        any = true;
    }
    if (!any && liked.empty()) return {};
    if (any && common) continue;
    if (any && liked.empty()) continue;
    if (any) return {};  // no list has both
    if (!common) {
      common = std::move(liked);
      continue;
    }
    std::erase_if(*common, [&](auto m) { return !liked.contains(m); });
  }
  if (!common) return {all};
  std::set<numa_mask> out;
  for (auto m : *common) out.insert(m & all);
  return out;
}

// The sets that are left when of each list one is taken. Nodes are few: there are at most as many as sets of them.
std::set<numa_mask> intersections(const std::vector<hint_list>& lists, numa_mask all) {
  std::set<numa_mask> out = {all};
  for (auto& list : lists) {
    std::set<numa_mask> now;
    for (auto& h : list)
      for (auto m : out) now.insert(h.nodes ? m & *h.nodes : m);
    out = std::move(now);
  }
  return out;
}

}  // namespace

result<numa_policy> numa_policy::make(const topology_manager_settings& settings, const numa_nodes& nodes) {
  numa_policy out;
  out.settings_ = settings;
  if (static_cast<int>(nodes.size()) > settings.nodes_max)
    return fail(errc::invalid, fmt::format("unsupported on machines with more than {} NUMA Nodes", settings.nodes_max));
  for (auto& [id, node] : nodes) {
    out.all_ |= mask_of(id);
    if (!settings.prefer_closest) continue;
    if (node.distances.empty()) return fail(errc::invalid, "the machine doesn't tell its NUMA nodes' distances");
    // The kernel tells them by node, in the order of their numbers; the kubelet takes the place for the number.
    for (auto& [other, unused] : nodes) {
      if (static_cast<std::size_t>(other) >= node.distances.size())
        return fail(errc::invalid, "NUMA nodes aren't numbered without gaps: prefer-closest-numa-nodes can't be had");
      out.distances_[id][other] = node.distances[static_cast<std::size_t>(other)];
    }
  }
  return out;
}

numa_mask numa_policy::nearer(numa_mask a, numa_mask b) const {
  auto narrower = [&] { return is_narrower(a, b) ? a : b; };
  if (settings_.policy == policy::single_numa_node || !settings_.prefer_closest || count_of(a) != count_of(b))
    return narrower();
  // Of as many nodes each, so sums do for averages.
  auto distance = [&](numa_mask m) {
    std::uint64_t sum = 0;
    for (auto x : nodes_of(m))
      for (auto y : nodes_of(m)) sum += distances_.at(x).at(y);
    return sum;
  };
  auto of_a = distance(a), of_b = distance(b);
  if (of_a == of_b) return std::min(a, b);
  return of_a < of_b ? a : b;
}

// Of those that aren't preferred: with as many nodes as are needed, or as near to that as can be from below.
numa_mask numa_policy::better(numa_mask current, numa_mask candidate, int wanted) const {
  auto has = count_of(current), would = count_of(candidate);
  if (has > wanted) return nearer(current, candidate);
  if (has == wanted) return would == wanted ? nearer(current, candidate) : current;
  if (would > wanted) return current;
  if (would != has) return would > has ? candidate : current;
  return nearer(current, candidate);
}

numa_policy::answer numa_policy::merge(const std::vector<hints_by_resource>& of_providers) const {
  if (settings_.policy == policy::none) return {};
  auto lists = lists_of(of_providers);
  const bool single = settings_.policy == policy::single_numa_node;
  if (single) keep_single(lists);
  numa_hint best{.nodes = std::nullopt, .preferred = true};
  for (auto m : preferred_by_all(lists, all_))
    if (m != 0) best.nodes = best.nodes ? nearer(*best.nodes, m) : m;
  if (!best.nodes) {
    best.preferred = false;
    const auto wanted = greatest_need(lists);
    for (auto m : intersections(lists, all_))
      if (m != 0) best.nodes = best.nodes ? better(*best.nodes, m, wanted) : m;
  }
  if (!best.nodes) best.nodes = all_;
  if (single && *best.nodes == all_) best.nodes.reset();
  return {best, settings_.policy == policy::best_effort || best.preferred};
}

}  // namespace kedge::node
