#include "node/pods/evictor.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "node/limits.h"
#include "node/resources/readings.h"
#include "pod/references.h"
#include "reactor/offload.h"

namespace kedge::node {

using json::value;

task<std::optional<readings>> evictor::read() {
  auto out = co_await reactor::offload(
      [read = parts_.read, node = parts_.node_folder, image = parts_.image_folder] { return read(node, image); });
  if (!out) co_return std::nullopt;
  co_return *std::move(out);
}

namespace {

// What a pod has on the disk besides what its containers write into themselves, and where.
struct place {
  std::string volumes, logs, cgroup;
  std::vector<std::string> empty_dirs, containers;
};
struct measured {
  std::map<std::string, disk_use, std::less<>> empty_dirs, logs;
  std::uint64_t processes = 0;
};

place place_of(const value& pod, const pod_settings& s) {
  place out{.volumes = s.folder_of(pod["metadata"]["uid"].as_string()) + "/volumes/kubernetes.io~empty-dir/",
            .logs = s.logs_of(pod) + "/",
            .cgroup = cgroup_parent(pod)};
  if (auto* volumes = pod["spec"]["volumes"].array())
    for (auto& v : *volumes)
      if (v["emptyDir"].is_object() && v["emptyDir"]["medium"].as_string() != "Memory")
        out.empty_dirs.emplace_back(v["name"].as_string());
  api::each_container(pod["spec"],
                      [&](auto& c, std::string_view) { out.containers.emplace_back(c["name"].as_string()); });
  return out;
}

measured measure(const place& at) {
  measured out{.processes = processes_of(at.cgroup)};
  for (auto& name : at.empty_dirs) out.empty_dirs.emplace(name, measure_folder(at.volumes + name));
  for (auto& name : at.containers) out.logs.emplace(name, measure_folder(at.logs + name));
  return out;
}

pod_load load_of(const value& pod, const measured& there, const std::vector<container_usage>& usage) {
  pod_load out;
  out.pod = &pod;
  out.processes = there.processes;
  for (auto& [name, use] : there.empty_dirs) {
    out.empty_dirs.emplace(name, use.bytes);
    out.disk += use.bytes;
    out.inodes += use.files;
  }
  for (auto& [name, use] : there.logs) {
    out.disk += use.bytes;
    out.inodes += use.files;
  }
  for (auto& u : usage) {
    if (u.pod_uid != pod["metadata"]["uid"].as_string()) continue;
    out.memory += u.memory_working_set;
    out.disk += u.disk_bytes;
    out.inodes += u.inodes;
    auto logs = there.logs.find(u.name);
    out.containers.push_back(
        {u.name, u.memory_working_set, u.disk_bytes + (logs == there.logs.end() ? 0 : logs->second.bytes)});
  }
  return out;
}

}  // namespace

std::vector<std::shared_ptr<const value>> evictor::running() const {
  std::vector<std::shared_ptr<const value>> out;
  for (auto* w : parts_.pods.all())
    if (!w->has_ended() && !is_terminal_phase(w->status()["phase"].as_string()) && w->seen().runs_anything())
      out.push_back(w->pod());
  return out;
}

// In the order of `pods`.
task<std::vector<pod_load>> evictor::loads(std::vector<std::shared_ptr<const value>> pods) {
  std::vector<place> places;
  for (auto& p : pods) places.push_back(place_of(*p, parts_.pods.settings()));
  auto there = co_await reactor::offload([places] {
    std::vector<measured> out;
    for (auto& p : places) out.push_back(measure(p));
    return out;
  });
  auto usage = co_await parts_.runtime.usage();
  std::vector<pod_load> out;
  for (std::size_t i = 0; i < pods.size(); ++i)
    out.push_back(load_of(*pods[i], there ? (*there)[i] : measured(), usage ? *usage : std::vector<container_usage>()));
  co_return out;
}

task<bool> evictor::keep_limits() {
  auto pods = running();
  std::erase_if(pods, [](auto& p) { return !limits_disk(*p) || is_critical(*p); });
  if (pods.empty()) co_return false;
  bool any = false;
  for (auto& load : co_await loads(pods))
    if (auto why = beyond_disk_limits(load); !why.empty())
      any |=
          parts_.pods.evict((*load.pod)["metadata"]["uid"].as_string(), std::move(why), eviction_grace_seconds, false);
  co_return any;
}

task<std::string> evictor::turn() {
  auto seen = co_await read();
  if (!seen) co_return std::string();
  auto met = watch_.look(*seen, reactor::loop::current().now());
  if (watch_.pressure() != told_) {
    told_ = watch_.pressure();
    parts_.changed(told_);
  }
  // A pod that takes more than it may goes whatever the node has; what that frees is seen at the next turn.
  if (co_await keep_limits() || met.empty()) co_return std::string();
  auto why = met.front();
  auto resource = resource_of(why.what.of);
  log::warning("the node is low on {}: {} has {} left of {}", resource, name_of(why.what.of), why.seen.available,
               why.seen.capacity);
  parts_.tell("EvictionThresholdMet", fmt::format("Attempting to reclaim {}", resource));
  if (resource == "ephemeral-storage" || resource == "inodes") {
    (void)co_await parts_.images.remove_unused();
    if (auto after = co_await read(); after && watch_.is_relieved(*after)) co_return std::string();
  }
  auto pods = running();
  auto all = co_await loads(pods);
  rank(all, why.what.of);
  for (auto& load : all) {
    if (is_critical(*load.pod)) continue;
    auto grace = eviction_grace_seconds;
    if (why.what.soft) {
      auto& own = (*load.pod)["spec"]["terminationGracePeriodSeconds"];
      grace = std::min<std::int64_t>(parts_.settings.eviction_grace_max_seconds,
                                     own.as_integer(parts_.settings.eviction_grace_max_seconds));
    }
    auto uid = std::string((*load.pod)["metadata"]["uid"].as_string());
    if (parts_.pods.evict(uid, eviction_message(load, why), grace, true)) co_return uid;
  }
  log::warning("the node is low on {}, and no pod can be evicted", resource);
  co_return std::string();
}

task<void> evictor::run() {
  auto& here = reactor::loop::current();
  for (;;) {
    auto gone = co_await turn();
    // What it held is free when it has ended: nobody else goes for the same.
    for (auto until = here.now() + eviction_cleanup_wait; !gone.empty() && here.now() < until;) {
      auto* worker = parts_.pods.find_uid(gone);
      if (!worker || worker->has_ended()) break;
      co_await reactor::sleep_for(eviction_cleanup_poll);
    }
    co_await reactor::sleep_for(eviction_interval);
  }
}

}  // namespace kedge::node
