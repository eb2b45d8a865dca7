#include "control/workloads/scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <expected>
#include <limits>
#include <set>

#include "control/conditions.h"
#include "control/owners.h"
#include "control/pods.h"
#include "schema/quantity.h"

namespace kedge::control {
namespace {

constexpr std::int64_t no_limit = std::numeric_limits<std::int32_t>::max();
constexpr double scale_up_factor = 2,
                 scale_up_least = 4;  // without a behavior: at most twice as many, and four in any case
constexpr duration policy_period_most = std::chrono::minutes(30);

struct groups {
  std::size_t ready = 0;
  std::set<std::string, std::less<>> unready, missing, ignored;
};

bool is_unready(const json::value& pod, const pod_usage& usage, const readiness_delays& d, wall_time now) {
  auto& ready = condition_of(pod, "Ready");
  auto started = parse_rfc3339(pod["status"]["startTime"].as_string());
  auto changed = parse_rfc3339(ready["lastTransitionTime"].as_string());
  if (ready.is_null() || !started) return true;
  const bool not_ready = ready["status"].as_string() == "False";
  const auto since = changed ? *changed : wall_time();
  if (*started + d.cpu_initialization > now) return not_ready || usage.at < since + usage.window;
  return not_ready && *started + d.initial_readiness > since;
}

groups group(const std::vector<const json::value*>& pods, const usages& metrics, bool cpu, const readiness_delays& d,
             wall_time now) {
  groups out;
  for (auto pod : pods) {
    std::string name((*pod)["metadata"]["name"].as_string());
    auto usage = metrics.find(name);
    if (is_deleting(*pod) || phase_of(*pod) == "Failed")
      out.ignored.insert(name);
    else if (phase_of(*pod) == "Pending")
      out.unready.insert(name);
    else if (usage == metrics.end())
      out.missing.insert(name);
    else if (cpu && is_unready(*pod, usage->second, d, now))
      out.unready.insert(name);
    else
      ++out.ready;
  }
  return out;
}

std::int64_t added(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  return __builtin_add_overflow(a, b, &out) ? std::numeric_limits<std::int64_t>::max() : out;
}

// Up to a whole number; absurd ones are the most that there can be.
std::int64_t replicas_of(double n) {
  return n < static_cast<double>(no_limit) ? std::int64_t(std::ceil(std::max(n, 0.0))) : no_limit;
}

// Nothing shared by none, and none by none, come out of kube-controller-manager as the least number.
std::int64_t whole(double n) {
  constexpr auto least = std::numeric_limits<std::int64_t>::min(), most = std::numeric_limits<std::int64_t>::max();
  if (!std::isfinite(n)) return least;
  return n >= static_cast<double>(most) ? most : n <= static_cast<double>(least) ? least : static_cast<std::int64_t>(n);
}

std::int64_t milli(const json::value& amount) {
  auto q = schema::quantity::parse(amount.as_string());
  return q ? q->milli_value() : 0;
}

// What a pod asks for of the resource, all in or for one container; else why that isn't known.
std::expected<std::int64_t, std::string> request_of(const json::value& pod, const usage_target& t) {
  auto name = pod["metadata"]["name"].as_string();
  auto& spec = pod["spec"];
  if (t.container.empty() && spec["resources"]["requests"].is_object() && !spec["resources"]["requests"].empty()) {
    auto& r = spec["resources"]["requests"][t.resource];
    if (r.is_null())
      return std::unexpected(fmt::format("missing pod-level request for {} in Pod {}", t.resource, name));
    return milli(r);
  }
  std::int64_t sum = 0;
  bool found = false;
  std::string missing;
  auto add = [&](const json::value& c) {
    if (!t.container.empty() && c["name"].as_string() != t.container) return;
    found = true;
    auto& r = c["resources"]["requests"][t.resource];
    if (r.is_null() && missing.empty())
      missing =
          fmt::format("missing request for {} in container {} of Pod {}", t.resource, c["name"].as_string(), name);
    sum = added(sum, milli(r));
  };
  for (std::size_t i = 0; i < spec["containers"].size(); ++i) add(spec["containers"][i]);
  for (std::size_t i = 0; i < spec["initContainers"].size(); ++i)
    if (spec["initContainers"][i]["restartPolicy"].as_string() == "Always") add(spec["initContainers"][i]);
  if (!missing.empty()) return std::unexpected(missing);
  if (!t.container.empty() && !found)
    return std::unexpected(fmt::format("container {} not found in Pod {}", t.container, name));
  return sum;
}

struct ratio_of {
  double ratio = 0;
  std::int64_t average = 0;
  std::optional<std::int64_t> utilization;
};

std::optional<ratio_of> ratio(const usages& metrics, const std::map<std::string, std::int64_t, std::less<>>& requests,
                              const usage_target& t) {
  std::int64_t used = 0, asked = 0, n = 0;
  for (auto& [pod, usage] : metrics) {
    if (t.utilization) {
      auto r = requests.find(pod);
      if (r == requests.end()) continue;
      asked = added(asked, r->second);
    }
    used = added(used, usage.milli);
    ++n;
  }
  if (n == 0 || (t.utilization && asked == 0)) return std::nullopt;
  ratio_of out{.average = used / n};
  if (t.utilization) {
    out.utilization = static_cast<std::int64_t>(std::min<__int128>(__int128(used) * 100 / asked, no_limit));
    out.ratio = static_cast<double>(*out.utilization) / static_cast<double>(*t.utilization);
  } else {
    out.ratio = static_cast<double>(out.average) / static_cast<double>(t.average_milli);
  }
  return out;
}

proposal refused(std::string why) { return {.error = std::move(why)}; }

}  // namespace

proposal propose(const std::vector<const json::value*>& pods, usages metrics, const usage_target& t,
                 std::int64_t current, const tolerances& tolerance, const readiness_delays& delays, wall_time now) {
  if (pods.empty()) return refused("no pods returned by selector while calculating replica count");
  auto g = group(pods, metrics, t.resource == "cpu", delays, now);
  std::erase_if(metrics, [&](auto& m) { return g.ignored.contains(m.first) || g.unready.contains(m.first); });
  if (metrics.empty()) return refused("did not receive metrics for targeted pods (pods might be unready)");
  std::map<std::string, std::int64_t, std::less<>> requests;
  if (t.utilization)
    for (auto pod : pods) {
      auto r = request_of(*pod, t);
      if (!r) return refused(r.error());
      requests.emplace((*pod)["metadata"]["name"].as_string(), *r);
    }
  auto first = ratio(metrics, requests, t);
  if (!first) return refused("no metrics returned matched known pods");
  proposal out{.replicas = current, .average_milli = first->average, .utilization = first->utilization, .error = {}};
  const bool more_with_unready = !g.unready.empty() && first->ratio > 1;
  if (!more_with_unready && g.missing.empty()) {
    if (!tolerance.allow(first->ratio)) out.replicas = replicas_of(first->ratio * static_cast<double>(g.ready));
    return out;
  }
  for (auto& pod : g.missing) {
    if (first->ratio < 1)
      metrics[pod].milli =
          t.utilization
              ? static_cast<std::int64_t>(__int128(requests[pod]) * std::max<std::int64_t>(100, *t.utilization) / 100)
              : t.average_milli;
    if (first->ratio > 1) metrics[pod].milli = 0;
  }
  if (more_with_unready)
    for (auto& pod : g.unready) metrics[pod].milli = 0;
  auto second = ratio(metrics, requests, t);
  if (!second) return refused("no metrics returned matched known pods");
  if (tolerance.allow(second->ratio) || (first->ratio < 1 && second->ratio > 1) ||
      (first->ratio > 1 && second->ratio < 1))
    return out;
  auto replicas = replicas_of(second->ratio * static_cast<double>(metrics.size()));
  if ((second->ratio < 1 && replicas > current) || (second->ratio > 1 && replicas < current)) return out;
  out.replicas = replicas;
  return out;
}

proposal propose(const std::vector<const json::value*>& pods, const whole_usage& used, scale_counts now,
                 const tolerances& t) {
  const auto amount = static_cast<double>(used.milli), target = static_cast<double>(used.target_milli);
  proposal out{.replicas = now.status, .average_milli = used.milli, .utilization = {}, .error = {}};
  if (used.by_pod) {
    const auto sharing = static_cast<double>(now.status);
    if (!t.allow(amount / (target * sharing))) out.replicas = replicas_of(amount / target);
    out.average_milli = whole(std::ceil(amount / sharing));
    return out;
  }
  const auto ratio = amount / target;
  if (now.spec == 0) return out.replicas = replicas_of(ratio), out;
  if (t.allow(ratio)) return out.replicas = now.spec, out;
  if (pods.empty())
    return refused("unable to calculate ready pods: no pods returned by selector while calculating replica count");
  auto ready = std::ranges::count_if(
      pods, [](auto pod) { return phase_of(*pod) == "Running" && condition_status(*pod, "Ready") == "True"; });
  return out.replicas = replicas_of(ratio * static_cast<double>(ready)), out;
}

void scale_history::recommend(std::int64_t replicas, time_point now, duration keep) {
  std::erase_if(recommendations, [&](auto& r) { return r.at < now - keep; });
  recommendations.push_back({replicas, now});
}

void scale_history::scaled(std::int64_t from, std::int64_t to, const json::value& behavior, time_point now) {
  if (behavior.is_null()) return;
  for (auto* list : {&up, &down}) std::erase_if(*list, [&](auto& s) { return s.at < now - policy_period_most; });
  to > from ? up.push_back({to - from, now}) : down.push_back({from - to, now});
}

namespace {

std::int64_t changed_within(const std::vector<scale_history::step>& steps, duration period, time_point now) {
  std::int64_t n = 0;
  for (auto& s : steps)
    if (s.at > now - period) n += s.change;
  return n;
}

// How far the policies let it go, up or down.
std::int64_t limit_by_rules(const scale_history& h, const json::value& rules, bool up, std::int64_t current,
                            time_point now) {
  auto select = rules["selectPolicy"].as_string("Max");
  if (select == "Disabled") return current;
  std::optional<std::int64_t> out;
  for (std::size_t i = 0; i < rules["policies"].size(); ++i) {
    auto& p = rules["policies"][i];
    auto period = std::chrono::seconds(p["periodSeconds"].as_integer());
    auto began = static_cast<double>(current - changed_within(h.up, period, now) + changed_within(h.down, period, now));
    auto value = static_cast<double>(p["value"].as_integer());
    auto proposed = p["type"].as_string() == "Pods" ? began + (up ? value : -value)
                    : up                            ? std::ceil(began * (1 + value / 100))
                                                    : std::floor(began * (1 - value / 100));
    auto n =
        static_cast<std::int64_t>(std::clamp(proposed, -static_cast<double>(no_limit), static_cast<double>(no_limit)));
    const bool larger_change = up ? n > out.value_or(n) : n < out.value_or(n);
    if (!out || (select == "Min" ? !larger_change : larger_change)) out = n;
  }
  return out.value_or(current);
}

void stay_in_range(allowed_scale& out, std::int64_t stable) {
  out.limited = out.replicas != stable;
  if (out.limited) return;
  out.limit_reason = "DesiredWithinRange";
  out.limit_message = "the desired count is within the acceptable range";
}

constexpr std::string_view too_fast_up = "the desired replica count is increasing faster than the maximum scale rate";
constexpr std::string_view too_fast_down = "the desired replica count is decreasing faster than the maximum scale rate";
constexpr std::string_view too_many = "the desired replica count is more than the maximum replica count";
constexpr std::string_view too_few = "the desired replica count is less than the minimum replica count";

void limit(allowed_scale& out, std::int64_t to, std::string_view reason, std::string_view message) {
  out.replicas = to;
  out.limit_reason = reason;
  out.limit_message = message;
}

}  // namespace

allowed_scale allow(scale_history& h, const json::value& behavior, const scale_limits& l, std::int64_t current,
                    std::int64_t wanted, time_point now) {
  allowed_scale out;
  auto window = [&](const char* direction, duration otherwise) -> duration {
    auto& seconds = behavior[direction]["stabilizationWindowSeconds"];
    return seconds.is_integer() ? std::chrono::seconds(seconds.as_integer()) : otherwise;
  };
  const bool ruled = !behavior.is_null();
  const auto down_window = window("scaleDown", l.downscale_stabilization),
             up_window = ruled ? window("scaleUp", duration::zero()) : duration::zero();
  auto lowest = wanted, highest = wanted;
  for (auto& r : h.recommendations) {
    if (r.at > now - up_window) lowest = std::min(lowest, r.replicas);
    if (r.at >= now - down_window) highest = std::max(highest, r.replicas);
  }
  auto stable = ruled ? std::min(std::max(current, lowest), highest) : highest;
  h.recommend(wanted, now, std::max(down_window, up_window));
  out.able_reason = "ReadyForNewScale";
  out.able_message = "recommended size matches current size";
  if (stable != wanted) {
    const bool up = ruled && wanted >= current;
    out.able_reason = up ? "ScaleUpStabilized" : ruled ? "ScaleDownStabilized" : "ScaleDownStabilized";
    out.able_message =
        up ? "recent recommendations were lower than current one, applying the lowest recent recommendation"
           : "recent recommendations were higher than current one, applying the highest recent recommendation";
  }
  out.replicas = stable;
  if (!ruled) {
    auto fastest = static_cast<std::int64_t>(std::max(scale_up_factor * static_cast<double>(current), scale_up_least));
    if (stable < l.least)
      limit(out, l.least, "TooFewReplicas", too_few);
    else if (l.most > fastest && stable > fastest)
      limit(out, fastest, "ScaleUpLimit", too_fast_up);
    else if (l.most <= fastest && stable > l.most)
      limit(out, l.most, "TooManyReplicas", too_many);
  } else if (stable > current) {
    auto fastest = std::max(current, limit_by_rules(h, behavior["scaleUp"], true, current, now));
    if (l.most > fastest && stable > fastest)
      limit(out, fastest, "ScaleUpLimit", too_fast_up);
    else if (stable > l.most)
      limit(out, l.most, "TooManyReplicas", too_many);
  } else if (stable < current) {
    auto fastest = std::min(current, limit_by_rules(h, behavior["scaleDown"], false, current, now));
    if (l.least < fastest && stable < fastest)
      limit(out, fastest, "ScaleDownLimit", too_fast_down);
    else if (stable < l.least)
      limit(out, l.least, "TooFewReplicas", too_few);
  }
  stay_in_range(out, stable);
  return out;
}

}  // namespace kedge::control
