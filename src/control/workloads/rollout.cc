#include "control/workloads/rollout.h"

#include <cmath>
#include <numeric>

#include "control/workloads/replicas.h"

namespace kedge::control {
namespace {

std::int64_t sum_of(const std::vector<rollout_set>& sets, std::int64_t rollout_set::* what) {
  return std::accumulate(sets.begin(), sets.end(), std::int64_t(0), [&](auto n, auto& s) { return n + s.*what; });
}

// The sets' numbers, the first made first.
std::vector<std::size_t> by_age(const std::vector<rollout_set>& sets) {
  std::vector<std::size_t> order(sets.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::sort(order.begin(), order.end(), [&](auto a, auto b) {
    return sets[a].created != sets[b].created ? sets[a].created < sets[b].created : sets[a].name < sets[b].name;
  });
  return order;
}

}  // namespace

rollout_limits limits_of(const json::value& d) {
  rollout_limits out{.replicas = d["spec"]["replicas"].as_integer(1)};
  auto& strategy = d["spec"]["strategy"];
  if (strategy["type"].as_string() != "RollingUpdate") return out;
  out.surge = int_or_percent(strategy["rollingUpdate"]["maxSurge"], out.replicas, true);
  out.unavailable = int_or_percent(strategy["rollingUpdate"]["maxUnavailable"], out.replicas, false);
  // Nothing would ever move.
  if (out.surge == 0 && out.unavailable == 0) out.unavailable = 1;
  out.unavailable = out.replicas == 0 ? 0 : std::min(out.unavailable, out.replicas);
  return out;
}

std::int64_t new_set_replicas(const rollout_limits& l, const std::vector<rollout_set>& all, std::int64_t current) {
  if (current >= l.replicas) return l.replicas;
  auto room = l.replicas + l.surge - sum_of(all, &rollout_set::replicas);
  return room <= 0 ? current : current + std::min(room, l.replicas - current);
}

std::vector<std::int64_t> old_set_replicas(const rollout_limits& l, const std::vector<rollout_set>& old,
                                           const rollout_set& fresh) {
  std::vector<std::int64_t> out;
  for (auto& s : old) out.push_back(s.replicas);
  const auto least_available = l.replicas - l.unavailable;
  const auto total = sum_of(old, &rollout_set::replicas) + fresh.replicas;
  const auto most_down = total - least_available - (fresh.replicas - fresh.available);
  if (most_down <= 0) return out;
  auto order = by_age(old);
  std::int64_t down = 0;
  for (auto i : order) {  // those that don't work anyway
    if (down >= most_down) break;
    auto unhealthy = out[i] - old[i].available;
    if (out[i] == 0 || unhealthy <= 0) continue;
    auto n = std::min(most_down - down, unhealthy);
    out[i] -= n;
    down += n;
  }
  auto spare = sum_of(old, &rollout_set::available) + fresh.available - least_available;
  for (auto i : order) {
    if (spare <= 0) break;
    auto n = std::min(out[i], spare);
    out[i] -= n;
    spare -= n;
  }
  return out;
}

std::vector<std::int64_t> proportional(const rollout_limits& l, std::int64_t status_replicas,
                                       std::vector<rollout_set> active) {
  const auto most = l.replicas > 0 ? l.replicas + l.surge : 0;
  const auto to_add = most - sum_of(active, &rollout_set::replicas);
  std::vector<std::size_t> order(active.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  // The largest first; of equal ones the newest where replicas come, the oldest where they go.
  std::sort(order.begin(), order.end(), [&](auto a, auto b) {
    auto &x = active[a], &y = active[b];
    if (x.replicas != y.replicas) return x.replicas > y.replicas;
    if (x.created != y.created) return to_add > 0 ? x.created > y.created : x.created < y.created;
    return x.name < y.name;
  });
  std::vector<std::int64_t> out;
  for (auto& s : active) out.push_back(s.replicas);
  if (to_add == 0) return out;
  std::int64_t added = 0;
  for (auto i : order) {
    auto& s = active[i];
    if (s.replicas == 0 || to_add == added) continue;
    std::int64_t share = -s.replicas;
    if (l.replicas > 0) {
      auto before = s.most_before > 0 ? s.most_before : status_replicas;
      share = before == 0
                  ? 0
                  : static_cast<std::int64_t>(std::round(static_cast<double>(s.replicas * (l.replicas + l.surge)) /
                                                         static_cast<double>(before))) -
                        s.replicas;
    }
    share = to_add > 0 ? std::min(share, to_add - added) : std::max(share, to_add - added);
    out[i] += share;
    added += share;
  }
  if (!order.empty()) out[order.front()] = std::max<std::int64_t>(0, out[order.front()] + to_add - added);
  return out;
}

}  // namespace kedge::control
