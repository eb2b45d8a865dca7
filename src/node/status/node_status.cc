#include "node/status/node_status.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "node/limits.h"

namespace kedge::node {

namespace {

using json::array;
using json::object;
using json::value;

constexpr std::string_view role_label = "node-role.kubernetes.io/control-plane";

std::string comma_list(const std::vector<std::string>& parts) { return join(parts, ","); }

value labels_of(const node_facts& f) {
  value out(object{
      {"beta.kubernetes.io/arch", f.machine.architecture},
      {"beta.kubernetes.io/os", "linux"},
      {"kubernetes.io/arch", f.machine.architecture},
      {"kubernetes.io/hostname", f.config.node_name},
      {"kubernetes.io/os", "linux"},
  });
  // K3s's cloud controller adds these; here the node knows them from the start.
  if (!f.config.disable_cloud_controller) {
    out.set("beta.kubernetes.io/instance-type", "k3s");
    out.set("node.kubernetes.io/instance-type", "k3s");
  }
  for (auto& text : f.config.node_labels)
    if (auto label = parse_label(text)) out.set(label->first, label->second);
  return out;
}

value annotations_of(const node_facts& f) {
  auto& c = f.config;
  value out(object{
      {"alpha.kubernetes.io/provided-node-ip", comma_list(c.node_ips)},
      {"k3s.io/node-args", c.node_args},
      {"k3s.io/node-config-hash", config_hash(c.node_args, c.node_env)},
      {"k3s.io/node-env", c.node_env},
      {"volumes.kubernetes.io/controller-managed-attach-detach", "true"},
  });
  if (!c.disable_cloud_controller) {
    bool unusable = f.machine.hostname.empty() || f.machine.hostname.contains("localhost");
    out.set("k3s.io/hostname", unusable ? c.node_name : f.machine.hostname);
    out.set("k3s.io/internal-ip", comma_list(c.node_ips));
    if (!c.node_external_ips.empty()) out.set("k3s.io/external-ip", comma_list(c.node_external_ips));
    if (!c.node_internal_dns.empty()) out.set("k3s.io/internal-dns", comma_list(c.node_internal_dns));
    if (!c.node_external_dns.empty()) out.set("k3s.io/external-dns", comma_list(c.node_external_dns));
  }
  return out;
}

bool has_these(const value& addresses, const std::vector<std::string>& internal) {
  std::vector<std::string_view> there;
  for (std::size_t i = 0; i < addresses.size(); ++i)
    if (addresses[i]["type"].as_string() == "InternalIP") there.push_back(addresses[i]["address"].as_string());
  return std::ranges::equal(there, internal);
}

// As long as they are this machine's, what else belongs to them is the cloud controller's word, by what the node
// annotated. Two that write it would never end where they differ, as they do where a node isn't named as its machine
// is.
value addresses_of(const agent_config& c, const value& known) {
  if (!c.disable_cloud_controller && has_these(known, c.node_ips)) return known;
  array out;
  auto add = [&](std::string_view type, const std::string& address) {
    out.push_back(object{{"address", address}, {"type", type}});
  };
  for (auto& a : c.node_ips) add("InternalIP", a);
  for (auto& a : c.node_external_ips) add("ExternalIP", a);
  add("Hostname", c.node_name);
  return out;
}

value resources(const node_facts& f, std::string cpu, std::uint64_t storage, std::uint64_t memory) {
  auto& m = f.machine;
  value out(object{{"cpu", std::move(cpu)}, {"ephemeral-storage", binary_quantity(storage)}});
  for (auto& [size, bytes] : m.hugepages) out.set("hugepages-" + binary_quantity(size), binary_quantity(bytes));
  out.set("memory", binary_quantity(memory));
  out.set("pods", std::to_string(pods_max_of(f.config.kubelet, f.machine.cpus)));
  return out;
}

// Devices of plugins, and what others say that the node has (a resource is extended when its name has a domain).
void add_devices(const node_facts& f, const value& before, std::int64_t device_count::* which, value& to) {
  if (auto* all = before["status"]["capacity"].object())
    for (auto& [name, amount] : *all)
      if (name.contains('/') && !f.devices.contains(name)) to.set(name, amount);
  for (auto& [name, count] : f.devices) to.set(name, std::to_string(count.*which));
}

// What is kept from pods for the machine and for us.
schema::quantity reserved(const node_facts& f, std::string_view name) {
  schema::quantity out;
  for (auto* kept : {&f.config.kubelet.system_reserved, &f.config.kubelet.kube_reserved})
    if (auto one = kept->find(name); one != kept->end()) out += one->second;
  return out;
}
std::uint64_t less(std::uint64_t have, const schema::quantity& reserved) {
  return have - std::min(have, static_cast<std::uint64_t>(std::max<std::int64_t>(reserved.value(), 0)));
}

value allocatable_of(const node_facts& f) {
  auto& m = f.machine;
  // What is left to a pod is what can be had before it has to go.
  std::uint64_t memory = m.memory_bytes, storage = m.storage_bytes;
  for (auto& t : f.config.kubelet.thresholds) {
    if (t.soft) continue;
    if (t.of == eviction_signal::memory_available) memory -= std::min(memory, amount_of(t.below, m.memory_bytes));
    if (t.of == eviction_signal::nodefs_available) storage -= std::min(storage, amount_of(t.below, m.storage_bytes));
  }
  for (auto& [size, bytes] : m.hugepages) memory -= std::min(memory, bytes);
  auto cpu = schema::quantity::of(m.cpus);
  cpu -= reserved(f, "cpu");
  if (cpu.sign() < 0) cpu = {};
  return resources(f, cpu.text(), less(storage, reserved(f, "ephemeral-storage")), less(memory, reserved(f, "memory")));
}

value images_of(const runtime_state& runtime, int most) {
  std::vector<const runtime_image*> sorted;
  for (auto& i : runtime.images) sorted.push_back(&i);
  // A total order: what the runtime lists in another order next time is no change.
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) {
    return a->size_bytes != b->size_bytes ? a->size_bytes > b->size_bytes : a->names < b->names;
  });
  array out;
  for (auto* i : sorted) {
    if (most >= 0 && out.size() == static_cast<std::size_t>(most)) break;
    array names;
    for (auto& n : i->names)
      if (names.size() < names_per_image_max) names.emplace_back(n);
    out.push_back(object{{"names", std::move(names)}, {"sizeBytes", static_cast<std::int64_t>(i->size_bytes)}});
  }
  return out;
}

value node_info_of(const node_facts& f) {
  auto& m = f.machine;
  value out(object{
      {"architecture", m.architecture},
      {"bootID", m.boot_id},
      {"containerRuntimeVersion", f.runtime.name.empty() ? std::string() : f.runtime.name + "://" + f.runtime.version},
      {"kernelVersion", m.kernel_version},
      {"kubeProxyVersion", ""},
      {"kubeletVersion", f.config.version},
      {"machineID", m.machine_id},
      {"operatingSystem", "linux"},
      {"osImage", m.os_image},
      {"systemUUID", m.system_uuid},
  });
  if (m.swap_bytes > 0) out.set("swap", object{{"capacity", static_cast<std::int64_t>(m.swap_bytes)}});
  return out;
}

// Why the node is not ready, in the kubelet's words; empty when it is.
std::string not_ready_message(const node_facts& f) {
  auto& r = f.runtime;
  std::vector<std::string> problems;
  if (!r.error.empty()) {
    if (!f.goes_down) return r.error;
    problems.push_back(r.error);
  }
  auto look = [&](std::string_view what, std::string_view condition, const runtime_condition& c) {
    if (!c.ready)
      problems.push_back(
          fmt::format("{} not ready: {}=false reason:{} message:{}", what, condition, c.reason, c.message));
  };
  if (r.error.empty()) {
    look("container runtime", "RuntimeReady", r.runtime);
    look("container runtime network", "NetworkReady", r.network);
  }
  if (f.goes_down) problems.emplace_back("node is shutting down");
  if (problems.empty()) return {};
  return problems.size() == 1 ? problems[0] : "[" + join(problems, ", ") + "]";
}

value condition(std::string_view type, bool status, std::string_view reason, std::string_view message,
                const value& previous, const std::string& now) {
  std::string_view word = status ? "True" : "False";
  std::string since = now;
  if (auto* list = previous["status"]["conditions"].array())
    for (auto& c : *list)
      if (c["type"].as_string() == type && c["status"].as_string() == word && c["lastTransitionTime"].is_string())
        since = c["lastTransitionTime"].as_string();
  return object{{"lastHeartbeatTime", now}, {"lastTransitionTime", since},
                {"message", message},       {"reason", reason},
                {"status", word},           {"type", type}};
}

value conditions_of(const node_facts& f, const value& previous, const std::string& now) {
  array out;
  auto pressure = [&](bool is, std::string_view type, const char* reason, const char* message, const char* fine_reason,
                      const char* fine_message) {
    out.push_back(condition(type, is, is ? reason : fine_reason, is ? message : fine_message, previous, now));
  };
  pressure(f.pressure.memory, "MemoryPressure", "KubeletHasInsufficientMemory",
           "kubelet has insufficient memory available", "KubeletHasSufficientMemory",
           "kubelet has sufficient memory available");
  pressure(f.pressure.disk, "DiskPressure", "KubeletHasDiskPressure", "kubelet has disk pressure",
           "KubeletHasNoDiskPressure", "kubelet has no disk pressure");
  pressure(f.pressure.pid, "PIDPressure", "KubeletHasInsufficientPID", "kubelet has insufficient PID available",
           "KubeletHasSufficientPID", "kubelet has sufficient PID available");
  auto problem = not_ready_message(f);
  out.push_back(problem.empty()
                    ? condition("Ready", true, "KubeletReady", "kubelet is posting ready status", previous, now)
                    : condition("Ready", false, "KubeletNotReady", problem, previous, now));
  return out;
}

// The members of `wanted` that `existing` lacks or has otherwise.
value difference(const value& existing, const value& wanted) {
  value out;
  for (auto& [name, v] : *wanted.object())
    if (!existing.find(name) || existing[name] != v) out.set(name, v);
  return out;
}

// A condition without its times.
bool same_condition(const value& a, const value& b) {
  for (auto* part : {"status", "reason", "message"})
    if (a[part].as_string() != b[part].as_string()) return false;
  return true;
}

const value& find_condition(const value& node, std::string_view type) {
  static const value none;
  if (auto* list = node["status"]["conditions"].array())
    for (auto& c : *list)
      if (c["type"].as_string() == type) return c;
  return none;
}

// A map (capacity, allocatable) as a merge patch: what is gone becomes null.
value map_patch(const value& existing, const value& wanted) {
  auto out = difference(existing, wanted);
  if (auto* old = existing.object())
    for (auto& [name, v] : *old)
      if (!wanted.find(name)) out.set(name, nullptr);
  return out;
}

}  // namespace

result<void> check_config(const agent_config& config) {
  for (auto& text : config.node_labels) KEDGE_CHECK(parse_label(text));
  for (auto& text : config.node_taints) KEDGE_CHECK(parse_taint(text));
  return {};
}

value describe_node(const node_facts& f, const value& previous, wall_time now) {
  value node(object{{"apiVersion", "v1"}, {"kind", "Node"}});
  node.set("metadata",
           object{{"name", f.config.node_name}, {"labels", labels_of(f)}, {"annotations", annotations_of(f)}});
  auto capacity = resources(f, std::to_string(f.machine.cpus), f.machine.storage_bytes, f.machine.memory_bytes),
       allocatable = allocatable_of(f);
  add_devices(f, previous, &device_count::capacity, capacity);
  add_devices(f, previous, &device_count::allocatable, allocatable);
  value spec{object{}};
  if (!f.config.disable_cloud_controller) spec.set("providerID", "k3s://" + f.config.node_name);
  for (auto& text : f.config.node_taints)
    if (auto t = parse_taint(text)) {
      value one(object{{"effect", t->effect}, {"key", t->key}});
      if (!t->value.empty()) one.set("value", t->value);
      spec.member("taints").push_back(std::move(one));
    }
  node.set("spec", std::move(spec));
  node.set("status", object{
                         {"addresses", addresses_of(f.config, previous["status"]["addresses"])},
                         {"allocatable", std::move(allocatable)},
                         {"capacity", std::move(capacity)},
                         {"conditions", conditions_of(f, previous, format_rfc3339(now))},
                         {"daemonEndpoints",
                          object{{"kubeletEndpoint", object{{"Port", static_cast<int>(f.config.kubelet.port)}}}}},
                         {"images", images_of(f.runtime, f.config.kubelet.images_told_max)},
                         {"nodeInfo", node_info_of(f)},
                     });
  if (!f.runtime.handlers.empty()) {
    array handlers;
    for (auto& h : f.runtime.handlers) {
      value one(object{{"features", object{{"recursiveReadOnlyMounts", h.recursive_read_only},
                                           {"userNamespaces", h.user_namespaces}}}});
      if (!h.name.empty()) one.set("name", h.name);
      handlers.push_back(std::move(one));
    }
    node.member("status").set("runtimeHandlers", std::move(handlers));
  }
  // What servers mayn't take for granted: nodes of other versions can't.
  node.member("status").set("declaredFeatures", array{value("InPlacePodLevelResourcesVerticalScaling"),
                                                      value("InPlacePodVerticalScalingInitContainers"),
                                                      value("RestartAllContainersOnContainerExits")});
  if (!f.volumes_in_use.empty())
    node.member("status").set("volumesInUse", array(f.volumes_in_use.begin(), f.volumes_in_use.end()));
  return node;
}

value registration_patch(const value& existing, const value& wanted) {
  value patch;
  for (auto* part : {"labels", "annotations"}) {
    auto missing = difference(existing["metadata"][part], wanted["metadata"][part]);
    if (!missing.is_null()) patch.member("metadata").set(part, std::move(missing));
  }
  auto& provider = wanted["spec"]["providerID"];
  if (provider.is_string() && existing["spec"]["providerID"].as_string().empty())
    patch.member("spec").set("providerID", provider);
  return patch;
}

value status_patch(const value& existing, const value& wanted, bool heartbeat_due) {
  value status;
  auto& old = existing["status"];
  auto& next = wanted["status"];
  if (old["addresses"] != next["addresses"]) {
    // Merged by type as the API's types say, two addresses of one type would become one: replace the list.
    auto list = *next["addresses"].array();
    list.push_back(object{{"$patch", "replace"}});
    status.set("addresses", std::move(list));
  }
  for (auto* part : {"allocatable", "capacity"}) {
    auto changes = map_patch(old[part], next[part]);
    if (!changes.is_null()) status.set(part, std::move(changes));
  }
  for (auto* part : {"daemonEndpoints", "nodeInfo"})
    if (old[part] != next[part]) status.set(part, next[part]);
  // Told whole: merged, one that has gone would stay.
  if (old["runtimeHandlers"] != next["runtimeHandlers"]) status.set("runtimeHandlers", next["runtimeHandlers"]);
  if (old["declaredFeatures"] != next["declaredFeatures"]) status.set("declaredFeatures", next["declaredFeatures"]);
  if (old["volumesInUse"] != next["volumesInUse"]) status.set("volumesInUse", next["volumesInUse"]);
  // An empty list is left out by the server, which makes it equal to none.
  if (old["images"] != next["images"] && !(old["images"].empty() && next["images"].empty()))
    status.set("images", next["images"]);
  bool conditions_changed = false;
  for (auto& c : *next["conditions"].array())
    conditions_changed |= !same_condition(c, find_condition(existing, c["type"].as_string()));
  if (status.is_null() && !conditions_changed && !heartbeat_due) return {};
  status.set("conditions", next["conditions"]);
  return object{{"status", std::move(status)}};
}

value server_role_patch(const value& existing) {
  if (existing["metadata"]["labels"][role_label].as_string() == "true") return {};
  value patch;
  patch.member("metadata").member("labels").set(role_label, "true");
  return patch;
}

std::string_view condition_status(const value& node, std::string_view type) {
  return find_condition(node, type)["status"].as_string();
}

std::vector<std::string_view> reasons_of_changes(const value& before, const value& now) {
  struct row {
    std::string_view condition, status, reason;
  };
  static constexpr row rows[] = {
      {"MemoryPressure", "False", "NodeHasSufficientMemory"},
      {"MemoryPressure", "True", "NodeHasInsufficientMemory"},
      {"DiskPressure", "False", "NodeHasNoDiskPressure"},
      {"DiskPressure", "True", "NodeHasDiskPressure"},
      {"PIDPressure", "False", "NodeHasSufficientPID"},
      {"PIDPressure", "True", "NodeHasInsufficientPID"},
      {"Ready", "True", "NodeReady"},
      {"Ready", "False", "NodeNotReady"},
  };
  std::vector<std::string_view> out;
  for (auto& r : rows)
    if (condition_status(now, r.condition) == r.status && condition_status(before, r.condition) != r.status)
      out.push_back(r.reason);
  return out;
}

value node_lease(const value& owner, const value& previous, wall_time now) {
  auto name = owner["metadata"]["name"];
  value lease = previous;
  if (lease.is_null()) {
    lease = object{{"apiVersion", "coordination.k8s.io/v1"}, {"kind", "Lease"}};
    lease.set("metadata", object{{"name", name}, {"namespace", "kube-node-lease"}});
  }
  // Always the Node of now: one that was deleted and came back has a new uid, and the collector would take the Lease.
  lease.member("metadata")
      .set("ownerReferences",
           array{object{{"apiVersion", "v1"}, {"kind", "Node"}, {"name", name}, {"uid", owner["metadata"]["uid"]}}});
  lease.member("metadata").erase("managedFields");  // the server's own bookkeeping: not ours to send back
  auto& spec = lease.member("spec");
  spec.set("holderIdentity", name);
  spec.set("leaseDurationSeconds", lease_duration_seconds);
  spec.set("renewTime", format_rfc3339_micro(now));
  return lease;
}

value node_event(std::string_view node_name, std::string_view type, std::string_view reason, std::string_view message,
                 wall_time now) {
  auto text = format_rfc3339(now);
  auto unique = static_cast<std::uint64_t>(now.time_since_epoch().count());
  return object{
      {"apiVersion", "v1"},
      {"kind", "Event"},
      {"metadata", object{{"name", fmt::format("{}.{:x}", node_name, unique)}, {"namespace", "default"}}},
      // The kubelet gives the node's name as uid, and `kubectl describe node` searches for it.
      {"involvedObject", object{{"kind", "Node"}, {"name", node_name}, {"uid", node_name}}},
      {"reason", reason},
      {"message", message},
      {"type", type},
      {"source", object{{"component", "kubelet"}, {"host", node_name}}},
      {"reportingComponent", "kubelet"},
      {"reportingInstance", node_name},
      {"firstTimestamp", text},
      {"lastTimestamp", text},
      {"count", 1},
  };
}

}  // namespace kedge::node
