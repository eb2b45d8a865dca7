#include "control/nodes/zones.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kedge::control {

std::string zone_of(const json::value& node) {
  auto& labels = node["metadata"]["labels"];
  auto either = [&](std::string_view beta, std::string_view stable) {
    auto* old = labels.find(beta);
    return (old ? *old : labels[stable]).as_string();
  };
  auto zone = either("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
  auto region = either("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region");
  if (zone.empty() && region.empty()) return {};
  // No label's value has a slash.
  return std::string(region) + "/" + std::string(zone);
}

zone_state state_of_zone(std::size_t ready, std::size_t not_ready, double unhealthy_threshold) noexcept {
  if (ready == 0 && not_ready > 0) return zone_state::full_disruption;
  auto share = static_cast<float>(not_ready) / static_cast<float>(std::max<std::size_t>(1, ready + not_ready));
  if (not_ready > 2 && share >= static_cast<float>(unhealthy_threshold)) return zone_state::partial_disruption;
  return zone_state::normal;
}

void rate_limiter::fill(time_point now) noexcept {
  if (now <= at_) return;
  tokens_ = std::min(1.0, tokens_ + rate_ * std::chrono::duration<double>(now - at_).count());
  at_ = now;
}

bool rate_limiter::try_take(time_point now) noexcept {
  if (rate_ <= 0) return false;
  fill(now);
  // A timer that was set for the very moment must not come in vain for want of the last bit.
  if (tokens_ < 1 - 1e-9) return false;
  tokens_ = std::max(0.0, tokens_ - 1);
  return true;
}

std::optional<time_point> rate_limiter::next(time_point now) const noexcept {
  if (rate_ <= 0) return std::nullopt;
  auto there = *this;
  there.fill(now);
  if (there.tokens_ >= 1 - 1e-9) return now;
  return now + std::chrono::nanoseconds(static_cast<std::int64_t>(std::ceil((1 - there.tokens_) / rate_ * 1e9)));
}

void rate_limiter::change(double per_second, time_point now) noexcept {
  if (per_second == rate_) return;
  // Who could take one now can take one then, and who couldn't has to wait.
  bool free = try_take(now);
  rate_ = per_second;
  at_ = now;
  tokens_ = free ? 1 : 0;
}

void zones::know(const std::string& name, time_point now) {
  zones_.try_emplace(name, zone{zone_state::initial, rate_limiter(rates_.normal, now), {}, {}});
}

double zones::rate_for(std::size_t nodes, zone_state s) const noexcept {
  if (s != zone_state::partial_disruption) return rates_.normal;
  return nodes > rates_.large_cluster_size ? rates_.secondary : 0;
}

zones::turn zones::judge(const std::map<std::string, count>& found, time_point now) {
  bool all_are = true, all_were = true;
  std::map<std::string, zone_state> states;
  for (auto& [name, c] : found) {
    know(name, now);
    states[name] = state_of_zone(c.ready, c.not_ready, rates_.unhealthy);
    all_are = all_are && states[name] == zone_state::full_disruption;
  }
  std::erase_if(zones_, [&](auto& z) { return !found.contains(z.first) && z.second.queue.empty(); });
  for (auto& [name, z] : zones_)
    if (found.contains(name) && z.state != zone_state::full_disruption) all_were = false;
  if (all_are && all_were) return turn::none;
  if (all_are) {
    for (auto& [name, z] : zones_) {
      z.limiter.change(0, now);
      z.state = zone_state::full_disruption;
    }
    return turn::stop_all;
  }
  for (auto& [name, state] : states) {
    auto& z = zones_.at(name);
    if (!all_were && z.state == state) continue;
    z.limiter.change(rate_for(found.at(name).all(), state), now);
    z.state = state;
  }
  return all_were ? turn::resume : turn::none;
}

zone_state zones::state(const std::string& name) const {
  auto it = zones_.find(name);
  return it == zones_.end() ? zone_state::initial : it->second.state;
}

void zones::queue(const std::string& name, const std::string& node, time_point now) {
  know(name, now);
  auto& z = zones_.at(name);
  if (z.queued.insert(node).second) z.queue.push_back({node, now});
}

void zones::queue_again(const std::string& name, const std::string& node, time_point now) {
  know(name, now);
  auto& z = zones_.at(name);
  // One that waits keeps its place.
  if (std::ranges::any_of(z.queue, [&](auto& w) { return w.node == node; })) return;
  z.queued.erase(node);
  queue(name, node, now);
}

void zones::remove(const std::string& name, const std::string& node) {
  auto it = zones_.find(name);
  if (it == zones_.end()) return;
  it->second.queued.erase(node);
  std::erase_if(it->second.queue, [&](auto& w) { return w.node == node; });
}

std::optional<std::string> zones::take(const std::string& name, time_point now) {
  auto it = zones_.find(name);
  if (it == zones_.end()) return std::nullopt;
  auto& z = it->second;
  if (z.queue.empty() || z.queue.front().from > now || !z.limiter.try_take(now)) return std::nullopt;
  auto node = std::move(z.queue.front().node);
  z.queue.pop_front();
  return node;
}

void zones::retry(const std::string& name, const std::string& node, time_point when) {
  auto it = zones_.find(name);
  // Taken out meanwhile: it is ready again.
  if (it == zones_.end() || !it->second.queued.contains(node)) return;
  auto& q = it->second.queue;
  q.insert(std::ranges::upper_bound(q, when, {}, &zone::waiting::from), {node, when});
}

std::optional<time_point> zones::next(time_point now) const {
  std::optional<time_point> first;
  for (auto& [name, z] : zones_) {
    if (z.queue.empty()) continue;
    auto free = z.limiter.next(now);
    if (!free) continue;
    auto when = std::max(*free, z.queue.front().from);
    if (!first || when < *first) first = when;
  }
  return first;
}

std::vector<std::string> zones::names() const {
  std::vector<std::string> out;
  for (auto& [name, z] : zones_) out.push_back(name);
  return out;
}

}  // namespace kedge::control
