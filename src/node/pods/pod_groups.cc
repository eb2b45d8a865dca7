#include "node/pods/pod_groups.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "node/limits.h"
#include "node/machine/node_stats.h"
#include "node/resources/eviction.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::value;

constexpr std::int64_t shares_least = 2, shares_most = 262'144, period_us = 100'000, quota_least_us = 1000;
constexpr std::uint64_t unbounded_pages = 1ULL << 62;  // what the kubelet writes for no limit
constexpr std::string_view burstable_group = "/kubepods/burstable", best_effort_group = "/kubepods/besteffort";

std::int64_t shares_of(std::int64_t milli) {
  return milli == 0 ? shares_least : std::clamp(milli * 1024 / 1000, shares_least, shares_most);
}

schema::quantity of(const pod::amounts& all, std::string_view name) {
  auto found = all.find(name);
  return found == all.end() ? schema::quantity() : found->second;
}

// Whether each container, or else the pod as a whole, says how much of it is the most.
bool is_limited(const value& pod, const char* name) {
  if (!pod::amount_of(pod["spec"]["resources"]["limits"][name]).is_zero()) return true;
  for (auto* list : {"containers", "initContainers"})
    if (auto* all = pod["spec"][list].array())
      for (auto& c : *all)
        if (pod::amount_of(c["resources"]["limits"][name]).is_zero()) return false;
  return true;
}

std::map<std::uint64_t, std::uint64_t> pages_of(const pod::amounts& all) {
  constexpr std::string_view prefix = "hugepages-";
  std::map<std::uint64_t, std::uint64_t> out;
  for (auto& [name, amount] : all) {
    if (!name.starts_with(prefix)) continue;
    auto size = schema::quantity::parse(std::string_view(name).substr(prefix.size()));
    if (size) out[static_cast<std::uint64_t>(size->value())] += static_cast<std::uint64_t>(amount.value());
  }
  return out;
}

// What is asked for of memory by the pods of a class.
std::int64_t memory_asked(const shared_pods& pods, std::string_view qos) {
  std::int64_t out = 0;
  for (auto& p : pods)
    if (qos_class(*p) == qos) out += of(pod::amounts_of_pod(*p, "requests"), "memory").value();
  return out;
}

}  // namespace

group_limits limits_of_pod(const value& pod, const pod_settings& s) {
  auto requests = pod::amounts_of_pod(pod, "requests"), limits = pod::amounts_of_pod(pod, "limits");
  auto qos = qos_class(pod);
  const bool guaranteed = qos == "Guaranteed", burstable = qos == "Burstable";
  group_limits out;
  out.cpu_shares = guaranteed || burstable ? shares_of(of(requests, "cpu").milli_value()) : shares_least;
  if (guaranteed || (burstable && is_limited(pod, "cpu"))) {
    auto most = of(limits, "cpu").milli_value();
    out.cpu_quota_us = !s.cpu_quota ? -1 : most == 0 ? 0 : std::max(most * period_us / 1000, quota_least_us);
    out.cpu_period_us = period_us;
  }
  if (guaranteed || (burstable && is_limited(pod, "memory"))) out.memory_bytes = of(limits, "memory").value();
  if (s.pod_processes_max > 0) out.processes = s.pod_processes_max;
  out.hugepages = pages_of(requests);
  out.other_hugepages = 0;
  if (!s.is_cgroup2) return out;
  auto asked = of(requests, "memory").value();
  if (s.tiered_memory_reservation && asked > 0)
    out.unified[guaranteed ? "memory.min" : "memory.low"] = std::to_string(asked);
  // Where the pod says what it has as a whole, it is throttled as a whole.
  if (s.memory_throttling_factor && pod["spec"]["resources"].is_object() && is_limited(pod, "memory"))
    if (auto high = memory_high(asked, of(limits, "memory").value(), *s.memory_throttling_factor))
      out.unified["memory.high"] = std::to_string(*high);
  return out;
}

group_limits limits_of_burstable(const shared_pods& pods, const pod_settings& s) {
  std::int64_t milli = 0;
  for (auto& p : pods)
    if (qos_class(*p) == "Burstable") milli += of(pod::amounts_of_pod(*p, "requests"), "cpu").milli_value();
  group_limits out{.cpu_shares = shares_of(milli), .hugepages = {}, .other_hugepages = unbounded_pages, .unified = {}};
  if (s.is_cgroup2)
    out.unified["memory.low"] = std::to_string(s.tiered_memory_reservation ? memory_asked(pods, "Burstable") : 0);
  return out;
}

group_limits limits_of_best_effort() {
  return {.cpu_shares = shares_least, .hugepages = {}, .other_hugepages = unbounded_pages, .unified = {}};
}

group_limits protection_of_pods(const shared_pods& pods, const pod_settings& s) {
  group_limits out;
  if (!s.is_cgroup2) return out;
  auto soft = s.tiered_memory_reservation ? memory_asked(pods, "Burstable") : 0;
  auto hard = s.tiered_memory_reservation ? memory_asked(pods, "Guaranteed") : 0;
  out.unified = {{"memory.min", std::to_string(hard + soft)}, {"memory.low", std::to_string(soft)}};
  return out;
}

group_limits limits_of_all_pods(const system_info& machine, std::int64_t processes_max, const kubelet_settings& k) {
  auto left = [&](std::string_view name, schema::quantity has) {
    if (k.enforced.pods)
      for (auto* kept : {&k.system_reserved, &k.kube_reserved}) has -= of(*kept, name);
    return has.sign() < 0 ? schema::quantity() : has;
  };
  group_limits out;
  out.cpu_shares = shares_of(left("cpu", schema::quantity::of(machine.cpus)).milli_value());
  out.memory_bytes = left("memory", schema::quantity::of(static_cast<std::int64_t>(machine.memory_bytes))).value();
  if (processes_max > 0) out.processes = left("pid", schema::quantity::of(processes_max)).value();
  out.hugepages = machine.hugepages;
  out.other_hugepages = 0;
  return out;
}

std::string reserved_beyond(const system_info& machine, const kubelet_settings& k) {
  auto bytes = [](std::uint64_t n) { return schema::quantity::of(static_cast<std::int64_t>(n)); };
  std::string out;
  auto look = [&](std::string_view name, const schema::quantity& has, std::optional<eviction_signal> signal) {
    auto kept = of(k.system_reserved, name);
    kept += of(k.kube_reserved, name);
    for (auto& t : k.thresholds)
      if (!t.soft && t.of == signal) kept += bytes(amount_of(t.below, static_cast<std::uint64_t>(has.value())));
    if (!(has < kept)) return;
    out +=
        fmt::format("{}Resource \"{}\" has a reservation of {} but capacity of {}. Expected capacity >= reservation.",
                    out.empty() ? "" : " ", name, kept.text(), has.text());
  };
  look("cpu", schema::quantity::of(machine.cpus), std::nullopt);
  look("ephemeral-storage", bytes(machine.storage_bytes), eviction_signal::nodefs_available);
  look("memory", bytes(machine.memory_bytes), eviction_signal::memory_available);
  return out;
}

group_limits limits_of_reserved(const pod::amounts& reserved, enforcement::kept what) {
  group_limits out;
  if (reserved.contains("cpu")) out.cpu_shares = shares_of(of(reserved, "cpu").milli_value());
  if (what != enforcement::kept::all) return out;
  if (reserved.contains("memory")) {
    out.memory_bytes = of(reserved, "memory").value();
    out.unified["memory.min"] = std::to_string(*out.memory_bytes);
  }
  if (reserved.contains("pid")) out.processes = of(reserved, "pid").value();
  return out;
}

task<result<void>> pod_groups::limit_classes(shared_pods pods) {
  auto& s = parts_.pods;
  KEDGE_CO_TRY(auto done, co_await reactor::offload([tree = parts_.tree, burstable = limits_of_burstable(pods, s),
                                                     all = protection_of_pods(pods, s)]() -> result<void> {
                 for (auto& [path, limits] :
                      {std::pair(burstable_group, burstable), std::pair(best_effort_group, limits_of_best_effort())}) {
                   KEDGE_CHECK(tree.make(std::string(path)));
                   KEDGE_CHECK(tree.limit(std::string(path), limits));
                 }
                 return tree.limit(std::string(all_pods_group), all);
               }));
  co_return done;
}

task<result<void>> pod_groups::prepare(value pod, bool unthrottled) {
  auto pods = parts_.active();
  auto uid = pod["metadata"]["uid"].as_string();
  if (std::none_of(pods.begin(), pods.end(), [&](auto& p) { return (*p)["metadata"]["uid"].as_string() == uid; }))
    pods.push_back(std::make_shared<const value>(pod));
  if (auto done = co_await limit_classes(std::move(pods)); !done)
    log::debug("the classes of pods aren't limited: {}", done.error().message);
  auto limits = limits_of_pod(pod, parts_.pods);
  if (unthrottled) limits.cpu_quota_us = -1;
  KEDGE_CO_TRY(auto done,
               co_await reactor::offload([tree = parts_.tree, path = cgroup_parent(pod), limits]() -> result<void> {
                 KEDGE_CHECK(tree.make(path));
                 return tree.limit(path, limits);
               }));
  if (!done)
    co_return fail(done.error().code,
                   fmt::format("failed to create container for {} : {}", cgroup_parent(pod), done.error().message));
  co_return result<void>();
}

task<result<group_reading>> pod_groups::read(value pod) {
  KEDGE_CO_TRY(auto now,
               co_await reactor::offload([tree = parts_.tree, path = cgroup_parent(pod)] { return tree.read(path); }));
  co_return now;
}

// The classes follow at once: their shares are their pods'.
task<result<void>> pod_groups::limit(value pod, group_limits limits) {
  KEDGE_CO_TRY(auto done, co_await reactor::offload([tree = parts_.tree, path = cgroup_parent(pod), limits] {
                 return tree.limit(path, limits);
               }));
  KEDGE_CO_CHECK(std::move(done));
  if (auto classes = co_await limit_classes(parts_.active()); !classes)
    log::debug("the classes of pods aren't limited: {}", classes.error().message);
  co_return result<void>();
}

// More may be in use than is allowed from now on: evictions bring that down, and then the limit can be set.
task<void> pod_groups::enforce() {
  for (;;) {
    auto done = co_await reactor::offload([tree = parts_.tree, machine = parts_.machine(), k = parts_.settings] {
      auto stats = read_node_stats({}, "/");
      auto limits = limits_of_all_pods(machine, stats ? stats->processes_max : 0, k);
      return tree.limit(std::string(all_pods_group), limits);
    });
    auto fine = done && *done;
    if (fine) {
      parts_.tell(false, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods");
      co_return;
    }
    parts_.tell(true, "FailedNodeAllocatableEnforcement",
                fmt::format("Failed to update Node Allocatable Limits [\"kubepods\"]: {}",
                            done ? done->error().message : done.error().message));
    co_await reactor::sleep_for(group_interval);
  }
}

task<void> pod_groups::enforce_reserved(std::string what, std::string group, pod::amounts reserved,
                                        enforcement::kept how) {
  if (how == enforcement::kept::none) co_return;
  auto title = fmt::format("{} Reserved{}", what == "kube" ? "Kube" : "System",
                           how == enforcement::kept::compressible ? " Compressible" : "");
  auto done = co_await reactor::offload([tree = parts_.tree, group, limits = limits_of_reserved(reserved, how)] {
    return tree.limit(group.starts_with('/') ? group : "/" + group, limits);
  });
  if (done && *done) {
    parts_.tell(false, "NodeAllocatableEnforced", fmt::format("Updated limits on {} reserved cgroup {}", what, group));
    co_return;
  }
  parts_.tell(true, "FailedNodeAllocatableEnforcement",
              fmt::format("Failed to enforce {} Cgroup Limits on \"{}\": {}", title, group,
                          done ? done->error().message : done.error().message));
}

task<void> pod_groups::run() {
  if (auto problem = reserved_beyond(parts_.machine(), parts_.settings); !problem.empty())
    log::error("no pod fits on this node: invalid Node Allocatable configuration. {}", problem);
  auto made = co_await limit_classes(parts_.active());
  if (!made) log::warning("pods' control groups can't be made: {}", made.error().message);
  co_await enforce();
  auto& k = parts_.settings;
  co_await enforce_reserved("system", k.enforced.system_group, k.system_reserved, k.enforced.system);
  co_await enforce_reserved("kube", k.enforced.kube_group, k.kube_reserved, k.enforced.kube);
  for (;;) {
    co_await reactor::sleep_for(group_interval);
    if (auto done = co_await limit_classes(parts_.active()); !done)
      log::debug("the classes of pods aren't limited: {}", done.error().message);
  }
}

}  // namespace kedge::node
