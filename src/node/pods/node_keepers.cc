#include "node/pods/node_keepers.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "node/machine/oom_log.h"
#include "reactor/offload.h"

namespace kedge::node {

node_keepers::node_keepers(parts p)
    : parts_(std::move(p)),
      shutdown_({.pods = parts_.pods,
                 .phases = parts_.settings.shutdown,
                 .bus = system_bus_socket(),
                 .changed =
                     [this](bool goes_down) {
                       parts_.of_pods.goes_down = goes_down;
                       parts_.look();
                     },
                 .tell = [this](std::string reason,
                                std::string message) { parts_.tell(false, std::move(reason), std::move(message)); }}),
      devices_({.folder = parts_.of_pods.root + "/device-plugins",
                .network = parts_.network,
                .active = [this] { return active_uids(); },
                .changed =
                    [this](const std::set<std::string>& uids) {
                      parts_.of_pods.plugin_resources.clear();
                      for (auto& [name, count] : devices_.ledger().counts())
                        if (devices_.ledger().knows(name)) parts_.of_pods.plugin_resources.insert(name);
                      for (auto& uid : uids) parts_.pods.look(uid);
                      parts_.look();
                    }}),
      claims_({.api = parts_.api,
               .object = [this](std::string path) { return parts_.cluster.object(std::move(path)); },
               .file = parts_.of_pods.root + "/dra_manager_state",
               .node = parts_.node,
               .network = parts_.network,
               .active = [this] { return active_uids(); }}),
      resources_(
          {.folder = parts_.of_pods.root + "/pod-resources",
           .network = parts_.network,
           .devices = devices_,
           .pods = [this] { return parts_.pods.active(); },
           .cpus = [this](std::string_view uid, std::string_view container) { return cpus_.own(uid, container); },
           .allocatable_cpus = [this] { return cpus_.allocatable(); },
           .memory = [this](std::string_view uid, std::string_view container) { return memory_.own(uid, container); },
           .allocatable_memory = [this] { return memory_.allocatable(); }}),
      cpus_({.pods = parts_.pods,
             .runtime = parts_.runtime,
             .settings = parts_.settings,
             .file = parts_.of_pods.root + "/cpu_manager_state"}),
      memory_(
          {.pods = parts_.pods, .settings = parts_.settings, .file = parts_.of_pods.root + "/memory_manager_state"}),
      topology_(parts_.settings.topology, {&cpus_, &memory_, &devices_}),
      users_({.pods = parts_.of_pods.root + "/pods",
              .ids_per_pod = parts_.settings.ids_per_pod,
              .pods_max = parts_.settings.pods_max,
              .is_there = [this](std::string_view uid) { return parts_.pods.find_uid(uid) != nullptr; },
              .knows_all = [this] { return parts_.pods.knows_all(); }}) {
  if (!reactor::loop::current().io().is_real()) return;
  groups_.emplace(pod_groups::parts{.settings = parts_.settings,
                                    .pods = parts_.of_pods,
                                    .machine = parts_.machine,
                                    .active = [this] { return parts_.pods.active(); },
                                    .tell = parts_.tell,
                                    .tree = group_tree()});
}

std::optional<std::set<std::string, std::less<>>> node_keepers::active_uids() const {
  if (!parts_.pods.knows_all()) return std::nullopt;
  std::set<std::string, std::less<>> out;
  for (auto& p : parts_.pods.active()) out.emplace((*p)["metadata"]["uid"].as_string());
  return out;
}

task<result<void>> node_keepers::prepare(json::value pod) {
  if (!groups_) co_return result<void>();
  co_return co_await groups_->prepare(pod, cpus_.has_own(pod["metadata"]["uid"].as_string()));
}

task<result<group_reading>> node_keepers::group_of(json::value pod) {
  if (!groups_) co_return group_reading();
  co_return co_await groups_->read(std::move(pod));
}

task<result<void>> node_keepers::limit_group(json::value pod, group_limits limits) {
  if (!groups_) co_return result<void>();
  co_return co_await groups_->limit(std::move(pod), std::move(limits));
}

task<result<void>> node_keepers::prepare_claims(json::value pod) {
  if (!groups_) co_return result<void>();
  co_return co_await claims_.prepare(std::move(pod));
}

task<result<void>> node_keepers::release_claims(json::value pod) {
  if (!groups_) co_return result<void>();
  co_return co_await claims_.unprepare(std::string(pod["metadata"]["uid"].as_string()));
}

task<std::optional<waiting_reason>> node_keepers::allocate(json::value pod) {
  if (!groups_) co_return std::nullopt;
  co_await nodes_known_.wait();
  co_await cpus_.ready();
  auto turns = co_await devices_.turns_for(pod);
  cpus_.free_unused();
  memory_.free_unused();
  auto why = co_await topology_.admit(pod);
  co_await cpus_.given_all();
  co_await memory_.given_all(std::string(pod["metadata"]["uid"].as_string()));
  co_await devices_.given_all();
  co_return why;
}

// Where somebody minds.
task<void> node_keepers::find_numa_nodes() {
  if (parts_.settings.memory.is_static ||
      parts_.settings.topology.policy != topology_manager_settings::policy_kind::none) {
    auto read = co_await reactor::offload([] { return read_numa_nodes({}); });
    auto nodes = read ? *std::move(read) : result<numa_nodes>(std::unexpected(read.error()));
    numa_mask all = 0;
    if (nodes)
      for (auto& [id, node] : *nodes) all |= mask_of(id);
    if (all != 0) devices_.on_nodes(all);
    co_await memory_.begin(nodes, parts_.machine().memory_bytes);
    topology_.use(std::move(nodes));
  }
  nodes_known_.set();
}

task<result<id_range>> node_keepers::users(json::value pod, std::string handler) {
  std::string why;
  auto& all = parts_.handlers();
  auto found = std::ranges::find(all, handler, &runtime_handler::name);
  if (!groups_ || all.empty() || (found != all.end() && !found->user_namespaces))
    why = handler.empty() ? "runtime does not support user namespaces"
                          : fmt::format("RuntimeClass handler \"{}\" does not support user namespaces", handler);
  else if (found == all.end())
    why = fmt::format("the handler \"{}\" is not known", handler);
  if (!why.empty()) co_return fail(errc::unsupported, "can't set `spec.hostUsers: false`, " + why);
  co_return co_await users_.ids_of(std::string(pod["metadata"]["uid"].as_string()));
}

task<result<container_gets>> node_keepers::given(json::value pod, json::value container) {
  container_gets out;
  if (!groups_) co_return std::move(out);
  auto uid = std::string(pod["metadata"]["uid"].as_string()), name = std::string(container["name"].as_string());
  out.cpus = co_await cpus_.cpus_of(uid, name);
  out.own_cpus = cpus_.has_own(uid, name);
  out.memory_nodes = co_await memory_.begins(pod, name);
  if (has_own_users(pod)) { KEDGE_CO_TRY(out.users, co_await users_.ids_of(uid)); }
  KEDGE_CO_TRY(auto of_claims, co_await claims_.cdi_devices(pod, container));
  KEDGE_CO_TRY(out.devices, co_await devices_.options_for(std::move(pod), std::move(container)));
  for (auto& device : of_claims) out.devices.cdi_devices.push_back(std::move(device));
  co_return std::move(out);
}

json::value node_keepers::add_health(const json::value& pod, json::value status) const {
  auto uid = pod["metadata"]["uid"].as_string();
  auto* all = status.find("containerStatuses") ? status.find("containerStatuses")->array() : nullptr;
  if (!all) return status;
  for (auto& c : *all) {
    auto* has = devices_.ledger().find(uid, c["name"].as_string());
    if (!has) continue;
    json::array resources;
    for (auto& [resource, a] : *has) {
      std::map<std::string, bool, std::less<>> health;
      for (auto& d : devices_.ledger().devices(resource)) health.emplace(d.id, d.healthy);
      json::array devices;
      for (auto& id : ids_of(a.devices)) {
        auto known = health.find(id);
        const bool fine = known == health.end() || known->second;
        devices.push_back(json::object{{"health", fine ? "Healthy" : "Unhealthy"}, {"resourceID", id}});
      }
      resources.push_back(json::object{{"name", resource}, {"resources", std::move(devices)}});
    }
    c.set("allocatedResourcesStatus", std::move(resources));
  }
  return status;
}

// What a container's own limit ended is told of that container.
task<void> node_keepers::tell_oom_kills() {
  auto ended = co_await watch_oom_kills("/dev/kmsg", [this](const oom_kill& k) {
    if (k.group != "/") return;
    std::string message = "System OOM encountered";
    if (!k.process.empty() && k.pid != 0) message += fmt::format(", victim process: {}, pid: {}", k.process, k.pid);
    parts_.tell(true, "SystemOOM", std::move(message));
  });
  log::warning("nobody is told when the machine is out of memory: {}", ended.error().message);
}

task<void> node_keepers::run() {
  if (!groups_) co_return;
  tasks_.spawn(find_numa_nodes());
  tasks_.spawn(users_.begin());
  tasks_.spawn(groups_->run());
  tasks_.spawn(shutdown_.run());
  tasks_.spawn(tell_oom_kills());
  tasks_.spawn(devices_.run());
  tasks_.spawn(claims_.run());
  tasks_.spawn(cpus_.run());
  tasks_.spawn(resources_.run());
  co_await tasks_.join();
}

}  // namespace kedge::node
