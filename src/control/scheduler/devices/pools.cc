#include "control/scheduler/devices/pools.h"

#include <algorithm>
#include <set>

namespace kedge::control::scheduler {
namespace {

using slice_list = std::vector<slice_ref>;

bool is_reached(const slice& s, const node_view& node) {
  if (!s.by_device) return s.from.matches(node.name, node.labels);
  return std::ranges::any_of(s.devices, [&](auto& d) { return d.from.matches(node.name, node.labels); });
}

// The newest generation's, of each pool.
std::map<pool_id, slice_list> reached_slices(const node_view& node, const devices_view& devices) {
  std::map<pool_id, slice_list> out;
  for (auto* all : {&devices.slices_of(node.name), &devices.shared_slices()})
    for (auto& [name, s] : *all) {
      if (s->has_groups || !is_reached(*s, node)) continue;
      auto& list = out[s->pool];
      if (!list.empty() && s->generation < list.front()->generation) continue;
      if (!list.empty() && s->generation > list.front()->generation) list.clear();
      list.push_back(s);
    }
  return out;
}

bool has_different_names(const slice_list& slices) {
  std::set<std::string_view> seen;
  for (auto& s : slices)
    for (auto& d : s->devices)
      if (!seen.insert(d.name).second) return false;
  return true;
}

bool has_counters(const device_pool& pool, const slice_list& slices) {
  for (auto& s : slices)
    for (auto& d : s->devices)
      for (auto& use : d.consumes) {
        auto set = pool.counters.find(use.set);
        if (set == pool.counters.end()) return false;
        for (auto& [name, amount] : use.amounts)
          if (!set->second.contains(name)) return false;
      }
  return true;
}

// `reached`: a part of `all`.
device_pool build(const pool_id& id, const slice_list& reached, const slice_list& all) {
  device_pool out{.id = id, .incomplete = false, .invalid = false, .slices = {}, .of_others = {}, .counters = {}};
  bool valid = true;
  for (auto& s : all) {
    if (s->counters.empty()) {
      const bool here = std::ranges::find(reached, s) != reached.end();
      (here ? out.slices : out.of_others).push_back(s);
    }
    for (auto& set : s->counters) valid &= out.counters.emplace(set.name, set.amounts).second;
  }
  std::ranges::sort(out.slices, {}, [](auto& s) -> const std::string& { return s->name; });
  valid = valid && has_different_names(out.slices) && has_counters(out, out.slices) && has_counters(out, out.of_others);
  if (!valid) return {.id = id, .incomplete = false, .invalid = true, .slices = {}, .of_others = {}, .counters = {}};
  return out;
}

bool has_binding_conditions(const device_pool& pool) {
  return std::ranges::any_of(pool.slices, [](auto& s) {
    return std::ranges::any_of(s->devices, [](auto& d) { return !d.binding_conditions.is_null(); });
  });
}

}  // namespace

std::vector<device_pool> pools_of(const node_view& node, const devices_view& devices) {
  std::vector<device_pool> out, bound_later;
  for (auto& [id, reached] : reached_slices(node, devices)) {
    auto& newest = *reached.front();
    auto all = reached;
    if (static_cast<std::int64_t>(all.size()) != newest.slices) {
      all.clear();
      bool obsolete = false;
      for (auto& [name, s] : devices.pool(id)) {
        obsolete |= s->generation > newest.generation;
        if (s->generation == newest.generation && !s->has_groups) all.push_back(s);
      }
      if (obsolete) continue;
    }
    if (static_cast<std::int64_t>(all.size()) != newest.slices) {
      out.push_back({.id = id, .incomplete = true, .invalid = false, .slices = {}, .of_others = {}, .counters = {}});
      continue;
    }
    auto pool = build(id, reached, all);
    (has_binding_conditions(pool) ? bound_later : out).push_back(std::move(pool));
  }
  std::ranges::move(bound_later, std::back_inserter(out));
  return out;
}

}  // namespace kedge::control::scheduler
