#include "node/usage/summary.h"

#include <algorithm>

namespace kedge::node {

namespace {

using json::array;
using json::object;
using json::value;

std::int64_t whole(std::uint64_t n) { return static_cast<std::int64_t>(std::min(n, std::uint64_t(INT64_MAX))); }
std::uint64_t less(std::uint64_t a, std::uint64_t b) { return a - std::min(a, b); }
std::string text(wall_time t) { return format_rfc3339(t); }

value stalls(const pressure& p) {
  auto one = [](const pressure::share& s) {
    return object{
        {"total", whole(s.total_microseconds)}, {"avg10", s.last_10s}, {"avg60", s.last_60s}, {"avg300", s.last_300s}};
  };
  return object{{"full", one(p.full)}, {"some", one(p.some)}};
}

value cpu_of(const cgroup_usage& u, std::optional<std::uint64_t> nanocores) {
  object out{{"time", text(u.at)}};
  if (nanocores) out.set("usageNanoCores", whole(*nanocores));
  out.set("usageCoreNanoSeconds", whole(u.cpu_nanoseconds));
  if (u.cpu_pressure) out.set("psi", stalls(*u.cpu_pressure));
  return out;
}

value memory_of(const cgroup_usage& u) {
  object out{{"time", text(u.at)}};
  if (u.memory_limit) out.set("availableBytes", whole(less(*u.memory_limit, u.working_set_bytes())));
  out.set("usageBytes", whole(u.memory_bytes));
  out.set("workingSetBytes", whole(u.working_set_bytes()));
  out.set("rssBytes", whole(u.rss_bytes));
  out.set("pageFaults", whole(u.page_faults));
  out.set("majorPageFaults", whole(u.major_page_faults));
  if (u.memory_pressure) out.set("psi", stalls(*u.memory_pressure));
  return out;
}

value swap_of(const cgroup_usage& u, bool limited) {
  object out{{"time", text(u.at)}};
  if (limited && u.swap_limit) out.set("swapAvailableBytes", whole(less(*u.swap_limit, u.swap_bytes)));
  out.set("swapUsageBytes", whole(u.swap_bytes));
  return out;
}

// Of the node's file system, with what one user of it has of it.
object disk_of(const node_usage& u, std::uint64_t used_bytes, std::uint64_t used_inodes) {
  auto& m = u.machine;
  return object{{"time", text(u.at)},
                {"availableBytes", whole(m.disk_available_bytes)},
                {"capacityBytes", whole(m.disk_bytes)},
                {"usedBytes", whole(used_bytes)},
                {"inodesFree", whole(m.inodes_free)},
                {"inodes", whole(m.inodes)},
                {"inodesUsed", whole(used_inodes)}};
}

// `limited`: what is left to swap is told too, as of containers alone.
void add_measured(object& out, const cgroup_usage& used, std::optional<std::uint64_t> nanocores, bool limited) {
  out.set("cpu", cpu_of(used, nanocores));
  out.set("memory", memory_of(used));
  if (used.io_pressure) out.set("io", object{{"time", text(used.at)}, {"psi", stalls(*used.io_pressure)}});
  out.set("swap", swap_of(used, limited));
}

object container_stats(const node_usage& u, const measured_container& c, const layer_usages& layers, bool brief) {
  object out{{"name", c.name}, {"startTime", text(wall_time(std::chrono::nanoseconds(c.started_at)))}};
  add_measured(out, c.used, c.nanocores, true);
  if (brief) return out;
  if (auto layer = layers.find(c.id); layer != layers.end())
    out.set("rootfs", disk_of(u, layer->second.bytes, layer->second.inodes));
  out.set("logs", disk_of(u, c.log_bytes, c.log_files));
  return out;
}

object interface_stats(const interface_usage& i) {
  return object{{"name", i.name},
                {"rxBytes", whole(i.received_bytes)},
                {"rxErrors", whole(i.receive_errors)},
                {"txBytes", whole(i.sent_bytes)},
                {"txErrors", whole(i.send_errors)}};
}

// The one that `main` names stands in front of the list too.
value network_of(const std::vector<interface_usage>& all, std::string_view main, wall_time at) {
  object out{{"time", text(at)}};
  array list;
  for (auto& i : all) {
    if (i.name == main)
      for (auto& m : interface_stats(i)) out.set(m.name, m.value);
    list.emplace_back(interface_stats(i));
  }
  if (!out.find("name")) out.set("name", "");
  out.set("interfaces", std::move(list));
  return out;
}

object pod_stats(const node_usage& u, const measured_pod& p, const layer_usages& layers, bool brief) {
  array containers;
  std::uint64_t bytes = 0, inodes = 0, processes = p.sandbox ? p.sandbox->processes : 0;
  for (auto& c : p.measured) {
    containers.emplace_back(container_stats(u, c, layers, brief));
    bytes += c.log_bytes;
    inodes += c.log_files;
    processes += c.used.processes;
    if (auto layer = layers.find(c.id); layer != layers.end()) {
      bytes += layer->second.bytes;
      inodes += layer->second.inodes;
    }
  }
  object out{{"podRef", object{{"name", p.name}, {"namespace", p.ns}, {"uid", p.uid}}}};
  if (p.start_time.empty())
    out.set("startTime", nullptr);
  else
    out.set("startTime", p.start_time);
  out.set("containers", std::move(containers));
  if (p.used) add_measured(out, *p.used, p.nanocores, false);
  if (brief) return out;
  if (!p.network.empty()) out.set("network", network_of(p.network, "eth0", p.sandbox ? p.sandbox->at : u.at));
  out.set("ephemeral-storage", disk_of(u, bytes, inodes));
  out.set("process_stats", object{{"process_count", whole(processes)}});
  return out;
}

object node_stats_of(const node_usage& u, const std::string& name, bool brief) {
  auto& m = u.machine;
  const auto now = text(u.at);
  array system;
  for (auto& g : u.groups) {
    if (g.path != "/kubepods") continue;
    object pods{{"name", "pods"}, {"startTime", text(wall_time(std::chrono::seconds(m.booted)))}};
    add_measured(pods, g.used, g.nanocores, false);
    system.emplace_back(std::move(pods));
  }
  object cpu{{"time", now}};
  if (u.nanocores) cpu.set("usageNanoCores", whole(*u.nanocores));
  cpu.set("usageCoreNanoSeconds", whole(m.cpu_nanoseconds));
  if (u.cpu_pressure) cpu.set("psi", stalls(*u.cpu_pressure));
  object memory{{"time", now},
                {"availableBytes", whole(m.memory_available_bytes)},
                {"usageBytes", whole(m.memory_usage_bytes)},
                {"workingSetBytes", whole(m.memory_working_set_bytes)},
                {"rssBytes", whole(m.memory_rss_bytes)},
                {"pageFaults", whole(m.page_faults)},
                {"majorPageFaults", whole(m.major_page_faults)}};
  if (u.memory_pressure) memory.set("psi", stalls(*u.memory_pressure));
  object out{{"nodeName", name}};
  if (!system.empty()) out.set("systemContainers", std::move(system));
  out.set("startTime", text(wall_time(std::chrono::seconds(m.booted))));
  out.set("cpu", std::move(cpu));
  out.set("memory", std::move(memory));
  if (u.io_pressure) out.set("io", object{{"time", now}, {"psi", stalls(*u.io_pressure)}});
  out.set("swap", object{{"time", now},
                         {"swapAvailableBytes", whole(less(m.swap_total_bytes, m.swap_usage_bytes))},
                         {"swapUsageBytes", whole(m.swap_usage_bytes)}});
  if (brief) return out;
  out.set("network", network_of(u.network, m.network_interface, u.at));
  auto disk = disk_of(u, m.disk_used_bytes, less(m.inodes, m.inodes_free));
  out.set("fs", disk);
  out.set("runtime", object{{"imageFs", disk}, {"containerFs", disk}});
  out.set("rlimit", object{{"time", now}, {"maxpid", m.processes_max}, {"curproc", m.processes}});
  return out;
}

}  // namespace

namespace {

array volumes_of(const std::string& uid, const std::vector<claim_figures>& volumes) {
  array out;
  for (auto& v : volumes) {
    if (v.pod_uid != uid) continue;
    object one{{"time", format_rfc3339(v.at)}};
    if (auto& b = v.stats.bytes) {
      one.set("availableBytes", b->available);
      one.set("capacityBytes", b->total);
      one.set("usedBytes", b->used);
    }
    if (auto& i = v.stats.inodes) {
      one.set("inodesFree", i->available);
      one.set("inodes", i->total);
      one.set("inodesUsed", i->used);
    }
    one.set("name", v.volume);
    one.set("pvcRef", object{{"name", v.claim}, {"namespace", v.ns}});
    out.emplace_back(std::move(one));
  }
  return out;
}

}  // namespace

value usage_summary(const node_usage& u, const std::string& node_name, const layer_usages& layers, bool brief,
                    const std::vector<claim_figures>& volumes) {
  array pods;
  for (auto& p : u.pods) {
    auto one = pod_stats(u, p, layers, brief);
    if (auto has = volumes_of(p.uid, volumes); !has.empty() && !brief) one.set("volume", std::move(has));
    pods.emplace_back(std::move(one));
  }
  return object{{"node", node_stats_of(u, node_name, brief)}, {"pods", std::move(pods)}};
}

}  // namespace kedge::node
