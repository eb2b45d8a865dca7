#include "node/resources/eviction.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "base/strings.h"
#include "pod/amounts.h"
#include "schema/quantity.h"

namespace kedge::node {

namespace {

using json::value;

constexpr std::string_view names[] = {"memory.available",  "nodefs.available",   "nodefs.inodesFree",
                                      "imagefs.available", "imagefs.inodesFree", "pid.available"};
constexpr std::int64_t system_critical_priority = 2'000'000'000;

std::optional<eviction_signal> signal_named(std::string_view name) {
  auto at = std::find(std::begin(names), std::end(names), name);
  if (at == std::end(names)) return std::nullopt;
  return static_cast<eviction_signal>(at - std::begin(names));
}

struct statement {
  std::string_view name, value;
};

result<std::vector<statement>> statements(std::string_view text) {
  std::vector<statement> out;
  for (auto one : split(text, ',')) {
    one = trim(one);
    if (one.empty()) continue;
    auto at = one.find_first_of("<=");
    if (at == std::string_view::npos) return fail(errc::invalid, fmt::format("{} has no value", quote(one)));
    out.push_back({trim(one.substr(0, at)), trim(one.substr(at + 1))});
  }
  return out;
}

result<eviction_signal> known_signal(std::string_view name) {
  if (auto s = signal_named(name)) return *s;
  return fail(errc::invalid, fmt::format("unsupported eviction signal {}", name));
}

// As the kubelet has it: a percentage in float32.
result<eviction_amount> parse_amount(std::string_view text, bool may_be_zero) {
  eviction_amount out;
  if (text.ends_with('%')) {
    auto number = text.substr(0, text.size() - 1);
    float percent = 0;
    auto [end, problem] = std::from_chars(number.data(), number.data() + number.size(), percent);
    if (problem != std::errc() || end != number.data() + number.size() || percent < 0 || percent > 100)
      return fail(errc::invalid, fmt::format("{} is not a percentage from 0% to 100%", quote(text)));
    out.fraction = percent / 100;
    return out;
  }
  KEDGE_TRY(auto q, schema::quantity::parse(text));
  if (q.sign() < 0 || (q.is_zero() && !may_be_zero))
    return fail(errc::invalid, fmt::format("{} is not positive", quote(text)));
  out.amount = static_cast<std::uint64_t>(q.value());
  return out;
}

result<void> add_thresholds(std::string_view text, bool soft, std::vector<eviction_threshold>& to) {
  KEDGE_TRY(auto all, statements(text));
  for (auto& [name, value] : all) {
    // Overridden by the kubelet itself: a container's file system is one of the two others.
    if (name.starts_with("containerfs.")) continue;
    KEDGE_TRY(auto signal, known_signal(name));
    if (value == "0%" || value == "100%") continue;
    KEDGE_TRY(auto amount, parse_amount(value, false));
    to.push_back({.of = signal, .soft = soft, .below = amount});
  }
  return {};
}

int condition_of(eviction_signal s) {
  return s == eviction_signal::memory_available ? 0 : s == eviction_signal::pid_available ? 2 : 1;
}

std::int64_t priority_of(const pod_load& p) { return (*p.pod)["spec"]["priority"].as_integer(); }

std::int64_t requested(const pod_load& p, std::string_view name) {
  auto all = pod::amounts_of_pod(*p.pod, "requests");
  auto found = all.find(name);
  return found == all.end() ? 0 : found->second.value();
}

std::string bytes_text(std::uint64_t n) {
  return schema::quantity::of(static_cast<std::int64_t>(n), schema::quantity::format::binary_si).text();
}

}  // namespace

std::string_view name_of(eviction_signal s) { return names[static_cast<std::size_t>(s)]; }

std::string_view resource_of(eviction_signal s) {
  switch (s) {
    case eviction_signal::memory_available: return "memory";
    case eviction_signal::nodefs_inodes_free:
    case eviction_signal::imagefs_inodes_free: return "inodes";
    case eviction_signal::pid_available: return "pids";
    default: return "ephemeral-storage";
  }
}

std::uint64_t amount_of(const eviction_amount& a, std::uint64_t capacity) {
  if (a.fraction == 0) return a.amount;
  return static_cast<std::uint64_t>(static_cast<double>(capacity) * static_cast<double>(a.fraction));
}

result<std::vector<eviction_threshold>> parse_thresholds(std::string_view hard, std::string_view soft,
                                                         std::string_view soft_grace, std::string_view reclaim) {
  std::vector<eviction_threshold> out;
  KEDGE_CHECK(add_thresholds(hard, false, out));
  KEDGE_CHECK(add_thresholds(soft, true, out));
  KEDGE_TRY(auto graces, statements(soft_grace));
  std::map<eviction_signal, duration> grace_of;
  for (auto& [name, value] : graces) {
    KEDGE_TRY(auto signal, known_signal(name));
    KEDGE_TRY(auto grace, parse_duration(value));
    if (grace < duration(0)) return fail(errc::invalid, fmt::format("the grace period of {} is less than none", name));
    grace_of[signal] = grace;
  }
  KEDGE_TRY(auto reclaims, statements(reclaim));
  std::map<eviction_signal, eviction_amount> reclaim_of;
  for (auto& [name, value] : reclaims) {
    KEDGE_TRY(auto signal, known_signal(name));
    KEDGE_TRY(reclaim_of[signal], parse_amount(value, true));
  }
  for (auto& t : out) {
    if (t.soft) {
      if (!grace_of.contains(t.of))
        return fail(errc::invalid,
                    fmt::format("grace period must be specified for the soft eviction threshold {}", name_of(t.of)));
      t.grace = grace_of[t.of];
    }
    if (auto r = reclaim_of.find(t.of); r != reclaim_of.end()) t.reclaim = r->second;
  }
  return out;
}

bool pressure_watch::is_met(const eviction_threshold& t, const readings& r, bool with_reclaim) const {
  auto seen = r.find(t.of);
  if (seen == r.end()) return false;
  auto needed = amount_of(t.below, seen->second.capacity);
  if (with_reclaim) needed += amount_of(t.reclaim, seen->second.capacity);
  return seen->second.available < needed;
}

bool pressure_watch::is_relieved(const readings& r) const {
  return std::none_of(thresholds_.begin(), thresholds_.end(), [&](auto& t) { return is_met(t, r, true); });
}

std::vector<met_threshold> pressure_watch::look(const readings& r, time_point now) {
  std::map<std::size_t, time_point> since;
  for (std::size_t i = 0; i < thresholds_.size(); ++i)
    if (is_met(thresholds_[i], r, unresolved_.contains(i))) {
      auto before = since_.find(i);
      since[i] = before == since_.end() ? now : before->second;
      seen_at_[condition_of(thresholds_[i].of)] = now;
    }
  since_ = std::move(since);
  auto lasts = [&](int condition) {
    auto seen = seen_at_.find(condition);
    return seen != seen_at_.end() && now - seen->second < transition_;
  };
  // What is seen now is so even without a transition period.
  auto holds = [&](int condition) {
    return lasts(condition) || (seen_at_.contains(condition) && seen_at_[condition] == now);
  };
  pressure_ = {.memory = holds(0), .disk = holds(1), .pid = holds(2)};
  unresolved_.clear();
  std::vector<met_threshold> out;
  for (auto& [i, from] : since_) {
    if (now - from < thresholds_[i].grace) continue;
    unresolved_.insert(i);
    out.push_back({thresholds_[i], r.at(thresholds_[i].of)});
  }
  std::stable_partition(out.begin(), out.end(), [](auto& m) { return m.what.of == eviction_signal::memory_available; });
  return out;
}

void rank(std::vector<pod_load>& pods, eviction_signal s) {
  struct order {
    bool exceeds;
    std::int64_t priority, beyond;
  };
  std::vector<std::pair<order, pod_load>> all;
  for (auto& p : pods) {
    order o{false, priority_of(p), 0};
    auto measure = [&](std::uint64_t used, std::int64_t asked, std::int64_t relative_to) {
      o.exceeds = static_cast<std::int64_t>(used) > asked;
      o.beyond = static_cast<std::int64_t>(used) - relative_to;
    };
    switch (s) {
      case eviction_signal::memory_available: measure(p.memory, requested(p, "memory"), requested(p, "memory")); break;
      case eviction_signal::pid_available: o.beyond = static_cast<std::int64_t>(p.processes); break;
      case eviction_signal::nodefs_inodes_free:
      case eviction_signal::imagefs_inodes_free: measure(p.inodes, 0, 0); break;
      default: measure(p.disk, requested(p, "ephemeral-storage"), requested(p, "ephemeral-storage"));
    }
    all.emplace_back(o, std::move(p));
  }
  std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) {
    if (a.first.exceeds != b.first.exceeds) return a.first.exceeds;
    if (a.first.priority != b.first.priority) return a.first.priority < b.first.priority;
    return a.first.beyond > b.first.beyond;
  });
  pods.clear();
  for (auto& [o, p] : all) pods.push_back(std::move(p));
}

bool is_critical(const value& pod) {
  auto& notes = pod["metadata"]["annotations"];
  auto source = notes["kubernetes.io/config.source"].as_string("api");
  return source != "api" || notes["kubernetes.io/config.mirror"].is_string() ||
         pod["spec"]["priority"].as_integer() >= system_critical_priority;
}

namespace {

constexpr std::string_view disk = "ephemeral-storage";

// The size that an emptyDir on the disk has at most; zero: it has no limit.
schema::quantity size_limit(const value& volume) {
  auto& dir = volume["emptyDir"];
  return dir["medium"].as_string() == "Memory" ? schema::quantity() : pod::amount_of(dir["sizeLimit"]);
}
bool is_beyond(std::uint64_t used, const schema::quantity& limit) {
  return limit.sign() > 0 && static_cast<std::int64_t>(used) > limit.value();
}
template <typename F>
void each(const value& list, F f) {
  if (auto* all = list.array())
    for (auto& one : *all) f(one);
}

}  // namespace

bool limits_disk(const value& pod) {
  bool out = pod::amounts_of_pod(pod, "limits").contains(disk);
  each(pod["spec"]["volumes"], [&](auto& v) { out |= size_limit(v).sign() > 0; });
  return out;
}

// The kubelet's order: volumes, the pod as a whole, its containers.
std::string beyond_disk_limits(const pod_load& p) {
  std::string out;
  auto say = [&](std::string message) {
    if (out.empty()) out = std::move(message);
  };
  each((*p.pod)["spec"]["volumes"], [&](auto& v) {
    auto used = p.empty_dirs.find(v["name"].as_string());
    auto limit = size_limit(v);
    if (used != p.empty_dirs.end() && is_beyond(used->second, limit))
      say(fmt::format("Usage of EmptyDir volume {} exceeds the limit {}. ", quote(used->first), quote(limit.text())));
  });
  auto limits = pod::amounts_of_pod(*p.pod, "limits");
  if (auto whole = limits.find(disk); whole != limits.end() && is_beyond(p.disk, whole->second))
    say(fmt::format("Pod ephemeral local storage usage exceeds the total limit of containers {}. ",
                    whole->second.text()));
  for (auto* list : {"containers", "initContainers"})
    each((*p.pod)["spec"][list], [&](auto& c) {
      auto limit = pod::amount_of(c["resources"]["limits"][disk]);
      for (auto& load : p.containers)
        if (load.name == c["name"].as_string() && is_beyond(load.disk, limit))
          say(fmt::format("Container {} exceeded its local ephemeral storage limit {}. ", load.name,
                          quote(limit.text())));
    });
  return out;
}

std::string eviction_message(const pod_load& p, const met_threshold& why) {
  auto resource = resource_of(why.what.of);
  const bool in_bytes = resource == "memory" || resource == "ephemeral-storage";
  auto text = [&](std::uint64_t n) { return in_bytes ? bytes_text(n) : std::to_string(n); };
  auto out = fmt::format("The node was low on resource: {}. Threshold quantity: {}, available: {}. ", resource,
                         text(amount_of(why.what.below, why.seen.capacity)), text(why.seen.available));
  if (!in_bytes) return out;
  for (auto& load : p.containers)
    for (auto* list : {"containers", "initContainers"})
      if (auto* all = (*p.pod)["spec"][list].array())
        for (auto& c : *all) {
          if (c["name"].as_string() != load.name) continue;
          auto asked = pod::amount_of(c["resources"]["requests"][std::string(resource)]);
          auto used = resource == "memory" ? load.memory : load.disk;
          if (static_cast<std::int64_t>(used) > asked.value())
            out += fmt::format("Container {} was using {}, request is {}, has larger consumption of {}. ", load.name,
                               bytes_text(used), asked.text(), resource);
        }
  return out;
}

}  // namespace kedge::node
