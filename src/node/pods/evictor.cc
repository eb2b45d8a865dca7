#include "node/pods/evictor.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "node/limits.h"
#include "node/resources/readings.h"
#include "reactor/offload.h"

namespace kedge::node {

using json::value;

task<std::optional<readings>> evictor::read() {
  auto out = co_await reactor::offload(
      [read = parts_.read, node = parts_.node_folder, image = parts_.image_folder] { return read(node, image); });
  if (!out) co_return std::nullopt;
  co_return *std::move(out);
}

// In the order of `pods`.
task<std::vector<pod_load>> evictor::loads(std::vector<std::shared_ptr<const value>> pods) {
  struct place {
    std::string folder, logs, cgroup;
  };
  struct measured {
    disk_use disk;
    std::uint64_t processes = 0;
  };
  std::vector<place> places;
  auto& s = parts_.pods.settings();
  for (auto& p : pods)
    places.push_back({s.folder_of((*p)["metadata"]["uid"].as_string()), s.logs_of(*p), cgroup_parent(*p)});
  auto there = co_await reactor::offload([places] {
    std::vector<measured> out;
    for (auto& p : places) {
      auto volumes = measure_folder(p.folder), logs = measure_folder(p.logs);
      out.push_back({{volumes.bytes + logs.bytes, volumes.files + logs.files}, processes_of(p.cgroup)});
    }
    return out;
  });
  auto usage = co_await parts_.runtime.usage();
  std::vector<pod_load> out;
  for (std::size_t i = 0; i < pods.size(); ++i) {
    pod_load load;
    load.pod = pods[i].get();
    if (there) {
      load.disk = (*there)[i].disk.bytes;
      load.inodes = (*there)[i].disk.files;
      load.processes = (*there)[i].processes;
    }
    if (usage)
      for (auto& u : *usage) {
        if (u.pod_uid != (*pods[i])["metadata"]["uid"].as_string()) continue;
        load.memory += u.memory_working_set;
        load.disk += u.disk_bytes;
        load.inodes += u.inodes;
        load.containers.push_back({u.name, u.memory_working_set, u.disk_bytes});
      }
    out.push_back(std::move(load));
  }
  co_return out;
}

task<std::string> evictor::turn() {
  auto seen = co_await read();
  if (!seen) co_return std::string();
  auto met = watch_.look(*seen, reactor::loop::current().now());
  if (watch_.pressure() != told_) {
    told_ = watch_.pressure();
    parts_.changed(told_);
  }
  if (met.empty()) co_return std::string();
  auto why = met.front();
  auto resource = resource_of(why.what.of);
  log::warning("the node is low on {}: {} has {} left of {}", resource, name_of(why.what.of), why.seen.available,
               why.seen.capacity);
  parts_.tell("EvictionThresholdMet", fmt::format("Attempting to reclaim {}", resource));
  if (resource == "ephemeral-storage" || resource == "inodes") {
    (void)co_await parts_.images.remove_unused();
    if (auto after = co_await read(); after && watch_.is_relieved(*after)) co_return std::string();
  }
  std::vector<std::shared_ptr<const value>> pods;
  for (auto* w : parts_.pods.all())
    if (!w->has_ended() && !is_terminal_phase(w->status()["phase"].as_string()) && w->seen().runs_anything())
      pods.push_back(w->pod());
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
    if (parts_.pods.evict(uid, eviction_message(load, why), grace)) co_return uid;
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
