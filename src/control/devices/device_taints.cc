#include "control/devices/device_taints.h"

#include <algorithm>
#include <chrono>

#include "control/tolerations.h"

namespace kedge::control {
namespace {

constexpr std::string_view no_execute = "NoExecute";

std::string text(const json::value& v) { return std::string(v.as_string()); }
std::optional<std::string> said(const json::value& v) { return v.is_string() ? std::optional(text(v)) : std::nullopt; }

bool evicts(const json::value& taint) { return taint["effect"].as_string() == no_execute; }

device_pool_name pool_of(const json::value& slice) {
  return {text(slice["spec"]["driver"]), text(slice["spec"]["pool"]["name"])};
}

// A toleration of more than that is one for that long: times are counted in nanoseconds.
constexpr std::chrono::seconds stay_most = std::chrono::hours(24 * 365 * 100);

// How long a device's user may stay beside a taint: for ever, for so long, or, with nothing said, not at all.
struct stay {
  bool for_ever = false;
  std::chrono::seconds time{0};
};
stay stay_beside(const json::value& taint, const json::value& tolerations) {
  std::optional<std::int64_t> least;
  for (std::size_t i = 0; i < tolerations.size(); ++i) {
    auto& t = tolerations[i];
    if (t["effect"].as_string() != no_execute || !tolerates(t, taint)) continue;
    auto& seconds = t["tolerationSeconds"];
    if (!seconds.is_integer()) return {.for_ever = true, .time = {}};
    least = std::min(least.value_or(seconds.as_integer()), std::max<std::int64_t>(seconds.as_integer(), 0));
  }
  return {.for_ever = false,
          .time = std::chrono::seconds(std::clamp<std::int64_t>(least.value_or(0), 0, stay_most.count()))};
}

}  // namespace

void device_eviction::join(const device_eviction& other) {
  when = std::min(when, other.when);
  rules.insert(other.rules.begin(), other.rules.end());
}

bool taint_rule::means(const device_pool_name& in, std::string_view device_name) const noexcept {
  return selects && (!driver || *driver == in.driver) && (!pool || *pool == in.pool) &&
         (!device || *device == device_name);
}

taint_rule taint_rule_of(const json::value& object) {
  auto& selector = object["spec"]["deviceSelector"];
  return {.name = text(object["metadata"]["name"]),
          .uid = text(object["metadata"]["uid"]),
          .driver = said(selector["driver"]),
          .pool = said(selector["pool"]),
          .device = said(selector["device"]),
          .selects = selector.is_object(),
          .taint = object["spec"]["taint"]};
}

std::optional<device_pool_name> device_taints::see_slice(const json::value& before, const json::value& now) {
  auto pool = pool_of(now.is_null() ? before : now);
  const auto had = tainted_in(pool);
  if (!before.is_null()) remove(before);
  if (!now.is_null()) {
    remove(now);  // a start may tell it twice
    add(now);
  }
  return tainted_in(pool) == had ? std::nullopt : std::optional(std::move(pool));
}

void device_taints::remove(const json::value& slice) {
  auto pool = pools_.find(pool_of(slice));
  if (pool == pools_.end()) return;
  auto part = pool->second.find(slice["metadata"]["name"].as_string());
  if (part == pool->second.end()) return;
  tainted_ -= part->second.devices.size();
  pool->second.erase(part);
  if (pool->second.empty()) pools_.erase(pool);
}

void device_taints::add(const json::value& slice) {
  slice_part part;
  part.generation = slice["spec"]["pool"]["generation"].as_integer();
  auto& devices = slice["spec"]["devices"];
  for (std::size_t i = 0; i < devices.size(); ++i) {
    auto& taints = devices[i]["taints"];
    for (std::size_t j = 0; j < taints.size(); ++j)
      if (evicts(taints[j])) part.devices.push_back({text(devices[i]["name"]), taints[j]});
  }
  tainted_ += part.devices.size();
  pools_[pool_of(slice)].insert_or_assign(text(slice["metadata"]["name"]), std::move(part));
}

namespace {
std::int64_t newest_of(const auto& parts) {
  return std::ranges::max_element(parts, {}, [](auto& p) { return p.second.generation; })->second.generation;
}
}  // namespace

std::vector<device_taints::tainted_device> device_taints::tainted_in(const device_pool_name& pool) const {
  std::vector<tainted_device> out;
  auto it = pools_.find(pool);
  if (it == pools_.end()) return out;
  const auto newest = newest_of(it->second);
  for (auto& [name, part] : it->second)
    if (part.generation == newest) out.insert(out.end(), part.devices.begin(), part.devices.end());
  return out;
}

bool device_taints::is_newest(const json::value& slice) const {
  auto it = pools_.find(pool_of(slice));
  return it != pools_.end() && slice["spec"]["pool"]["generation"].as_integer() == newest_of(it->second);
}

bool device_taints::see_rule(const json::value& before, const json::value& now) {
  if (!before.is_null() && !now.is_null() && before["spec"] == now["spec"] &&
      before["metadata"]["uid"] == now["metadata"]["uid"])
    return false;
  const auto name = text((now.is_null() ? before : now)["metadata"]["name"]);
  bool changed = rules_.erase(name) > 0;
  if (!now.is_null() && evicts(now["spec"]["taint"])) {
    rules_.emplace(name, taint_rule_of(now));
    changed = true;
  }
  return changed;
}

void device_taints::see_claim(const std::string& key, const json::value& now) {
  std::set<device_pool_name> pools;
  auto& results = now["status"]["allocation"]["devices"]["results"];
  for (std::size_t i = 0; i < results.size(); ++i) pools.insert({text(results[i]["driver"]), text(results[i]["pool"])});
  auto had = claims_.find(key);
  if (had != claims_.end()) {
    if (had->second == pools) return;
    for (auto& p : had->second) {
      auto in = claims_in_.find(p);
      in->second.erase(key);
      if (in->second.empty()) claims_in_.erase(in);
    }
    claims_.erase(had);
  }
  for (auto& p : pools) claims_in_[p].insert(key);
  if (!pools.empty()) claims_.emplace(key, std::move(pools));
}

std::vector<std::string> device_taints::claims() const {
  std::vector<std::string> out;
  out.reserve(claims_.size());
  for (auto& [key, pools] : claims_) out.push_back(key);
  return out;
}

std::vector<std::string> device_taints::claims_in(const device_pool_name& pool) const {
  auto it = claims_in_.find(pool);
  return it == claims_in_.end() ? std::vector<std::string>() : std::vector(it->second.begin(), it->second.end());
}

std::optional<device_eviction> device_taints::eviction_of(const json::value& claim, const taint_rules& rules) const {
  device_eviction out;
  std::optional<wall_time> when;
  auto& results = claim["status"]["allocation"]["devices"]["results"];
  for (std::size_t i = 0; i < results.size(); ++i) {
    auto& r = results[i];
    auto take = [&](const json::value& taint, const taint_rule* of) {
      auto may = stay_beside(taint, r["tolerations"]);
      if (may.for_ever) return;
      if (of) out.rules.emplace(of->uid, of->name);
      if (auto added = parse_rfc3339(taint["timeAdded"].as_string()); added && *added <= wall_time::max() - may.time)
        when = std::min(when.value_or(*added + may.time), *added + may.time);
    };
    const device_pool_name pool{text(r["driver"]), text(r["pool"])};
    auto device = r["device"].as_string();
    if (tainted_ > 0)
      for (auto& t : tainted_in(pool))
        if (t.name == device) take(t.taint, nullptr);
    for (auto& [name, rule] : rules)
      if (rule.means(pool, device)) take(rule.taint, &rule);
  }
  if (!when) return std::nullopt;
  out.when = *when;
  return out;
}

}  // namespace kedge::control
