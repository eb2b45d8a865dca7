#include "node/pods/admit.h"

#include <fmt/format.h>

#include <algorithm>

#include "pod/amounts.h"

namespace kedge::node {

namespace {

using json::value;

const json::array& list_of(const value& v) {
  static const json::array none;
  auto* all = v.array();
  return all ? *all : none;
}

struct taken_port {
  std::string ip, protocol;
  std::int64_t port = 0;
};

std::vector<taken_port> ports_of(const value& pod) {
  std::vector<taken_port> out;
  auto add = [&](const value& c) {
    for (auto& p : list_of(c["ports"]))
      if (auto port = p["hostPort"].as_integer(); port > 0) {
        auto ip = std::string(p["hostIP"].as_string());
        out.push_back(
            {ip == "0.0.0.0" || ip == "::" ? std::string() : ip, std::string(p["protocol"].as_string("TCP")), port});
      }
  };
  for (auto& c : list_of(pod["spec"]["containers"])) add(c);
  for (auto& c : list_of(pod["spec"]["initContainers"]))
    if (is_sidecar(c)) add(c);
  return out;
}

bool clash(const taken_port& a, const taken_port& b) {
  return a.port == b.port && a.protocol == b.protocol && (a.ip == b.ip || a.ip.empty() || b.ip.empty());
}

std::optional<waiting_reason> out_of(std::string_view name, std::int64_t asked, std::int64_t used,
                                     std::int64_t capacity) {
  return waiting_reason{fmt::format("OutOf{}", name),
                        fmt::format("Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}", name,
                                    asked, used, capacity)};
}

// Without the extended resources that its containers have devices of a claim for: the node counts none of them.
value without_claimed_resources(value pod) {
  const auto mappings = pod["status"]["extendedResourceClaimStatus"]["requestMappings"];
  for (auto* list : {"initContainers", "containers"})
    if (auto* all = pod.member("spec").member(list).array())
      for (auto& c : *all)
        for (auto& m : list_of(mappings))
          if (m["containerName"] == c["name"] && c["resources"]["requests"].is_object())
            c.member("resources").member("requests").erase(m["resourceName"].as_string());
  return pod;
}

std::optional<waiting_reason> lacks_resources(const value& pod, const std::vector<std::shared_ptr<const value>>& others,
                                              const pod_settings& s) {
  auto count = static_cast<std::int64_t>(others.size());
  if (count + 1 > s.pods_max) return out_of("pods", 1, count, s.pods_max);
  const bool claims = pod["status"]["extendedResourceClaimStatus"].is_object();
  auto asked =
      claims ? pod::amounts_of_pod(without_claimed_resources(pod), "requests") : pod::amounts_of_pod(pod, "requests");
  pod::amounts used;
  for (auto& other : others) pod::add(used, pod::amounts_of_pod(*other, "requests"));
  auto has = pod::amounts_of(s.node.allocatable);
  for (auto& [name, amount] : asked) {
    if (amount.is_zero()) continue;
    auto capacity = has.find(name);
    if (capacity == has.end() && !name.starts_with("hugepages-") && name != "cpu" && name != "memory" &&
        name != "ephemeral-storage")
      continue;                                       // somebody's whom nobody asks
    if (s.plugin_resources.contains(name)) continue;  // who has its devices counts them
    auto of = [&](const schema::quantity& q) { return name == "cpu" ? q.milli_value() : q.value(); };
    auto limit = capacity == has.end() ? 0 : of(capacity->second);
    auto taken = used.contains(name) ? of(used.find(name)->second) : 0;
    if (of(amount) + taken > limit) return out_of(name, of(amount), taken, limit);
  }
  return std::nullopt;
}

// Those that are namespaced and harm nobody, and what the node is told to allow beside them.
std::optional<waiting_reason> has_unsafe_sysctl(const value& pod, const pod_settings& s) {
  static constexpr std::string_view safe[] = {"kernel.shm_rmid_forced",
                                              "net.ipv4.ip_local_port_range",
                                              "net.ipv4.tcp_syncookies",
                                              "net.ipv4.ping_group_range",
                                              "net.ipv4.ip_unprivileged_port_start",
                                              "net.ipv4.ip_local_reserved_ports",
                                              "net.ipv4.tcp_keepalive_time",
                                              "net.ipv4.tcp_fin_timeout",
                                              "net.ipv4.tcp_keepalive_intvl",
                                              "net.ipv4.tcp_keepalive_probes",
                                              "net.ipv4.tcp_rmem",
                                              "net.ipv4.tcp_wmem"};
  auto allowed = [&](std::string_view name) {
    return std::any_of(s.unsafe_sysctls.begin(), s.unsafe_sysctls.end(), [&](std::string_view a) {
      return a.ends_with('*') ? name.starts_with(a.substr(0, a.size() - 1)) : name == a;
    });
  };
  for (auto& one : list_of(pod["spec"]["securityContext"]["sysctls"])) {
    std::string name(one["name"].as_string());
    std::replace(name.begin(), name.end(), '/', '.');
    if (std::find(std::begin(safe), std::end(safe), name) == std::end(safe) && !allowed(name))
      return waiting_reason{"SysctlForbidden", fmt::format("forbidden sysctl: \"{}\" not allowlisted", name)};
  }
  return std::nullopt;
}

bool selected(const value& pod, const pod_settings& s) {
  auto* selector = pod["spec"]["nodeSelector"].object();
  if (!selector) return true;
  return std::all_of(selector->begin(), selector->end(), [&](auto& m) { return s.node_labels[m.name] == m.value; });
}

bool tolerates_memory_pressure(const value& pod) {
  constexpr std::string_view key = "node.kubernetes.io/memory-pressure";
  for (auto& t : list_of(pod["spec"]["tolerations"])) {
    const bool exists = t["operator"].as_string("Equal") == "Exists";
    auto effect = t["effect"].as_string();
    if ((t["key"].as_string() == key || (exists && t["key"].as_string().empty())) &&
        (exists || t["value"].as_string().empty()) && (effect.empty() || effect == "NoSchedule"))
      return true;
  }
  return false;
}

// A node that is short of something takes only what it can't be without; of memory, also who says how much he takes.
std::optional<waiting_reason> node_is_short(const value& pod, const node_pressure& p) {
  if (!p.any() || is_critical(pod)) return std::nullopt;
  if (p.memory && !p.disk && !p.pid && (qos_class(pod) != "BestEffort" || tolerates_memory_pressure(pod)))
    return std::nullopt;
  std::string conditions;
  for (auto [is, name] : {std::pair(p.memory, "MemoryPressure"), {p.disk, "DiskPressure"}, {p.pid, "PIDPressure"}})
    if (is) conditions += (conditions.empty() ? "" : " ") + std::string(name);
  return waiting_reason{"Evicted", fmt::format("The node had condition: [{}]. ", conditions)};
}

waiting_reason infeasible(std::string message) { return {"Infeasible", std::move(message)}; }

// Calls `f` with each container that stays, and what it is in another state of its pod.
template <typename F>
bool any_container(const value& pod, const value& other, F f) {
  for (auto* list : {"initContainers", "containers"})
    for (auto& c : list_of(pod["spec"][list]))
      if (list != std::string_view("initContainers") || is_sidecar(c))
        if (f(c, container_named(other, c["name"].as_string()))) return true;
  return false;
}

bool asks_for_other(const value& pod, const value& allocated, const char* name) {
  return any_container(pod, allocated, [&](const value& c, const value& old) {
    return !(pod::amount_of(c["resources"]["requests"][name]) == pod::amount_of(old["resources"]["requests"][name]));
  });
}

bool changes_memory_with_swap(const value& pod, const value& allocated, const pod_settings& s) {
  return any_container(pod, allocated, [&](const value& c, const value& old) {
    if (pod::amount_of(c["resources"]["requests"]["memory"]) == pod::amount_of(old["resources"]["requests"]["memory"]))
      return false;
    for (auto& p : list_of(old["resizePolicy"]))
      if (p["resourceName"].as_string() == "memory" && p["restartPolicy"].as_string() == "RestartContainer")
        return false;
    return may_swap(pod, c, s) || may_swap(allocated, old, s);
  });
}

}  // namespace

std::optional<waiting_reason> why_not_admitted(const value& pod,
                                               const std::vector<std::shared_ptr<const value>>& others,
                                               const pod_settings& s) {
  if (auto problem = node_is_short(pod, s.pressure)) return problem;
  if (auto problem = has_unsafe_sysctl(pod, s)) return problem;
  if (s.goes_down) return waiting_reason{"NodeShutdown", "Pod was rejected as the node is shutting down."};
  if (auto problem = lacks_resources(pod, others, s)) return problem;
  if (!selected(pod, s))
    return waiting_reason{"NodeAffinity",
                          "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"};
  for (auto& wanted : ports_of(pod))
    for (auto& other : others)
      for (auto& taken : ports_of(*other))
        if (clash(wanted, taken))
          return waiting_reason{
              "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"};
  return std::nullopt;
}

std::optional<waiting_reason> why_not_resized(const value& pod, const value& allocated,
                                              const std::vector<std::shared_ptr<const value>>& others,
                                              const pod_settings& s) {
  if (changes_memory_with_swap(pod, allocated, s))
    return infeasible("In-place resize of containers with swap is not supported.");
  if (qos_class(pod) == "Guaranteed") {
    if (s.exclusive_cpus && asks_for_other(pod, allocated, "cpu"))
      return infeasible("Resize is infeasible for Guaranteed Pods alongside CPU Manager policy \"static\"");
    if (s.exclusive_memory && asks_for_other(pod, allocated, "memory"))
      return infeasible("Resize is infeasible for Guaranteed Pods alongside Memory Manager policy \"Static\"");
  }
  return why_not_admitted(pod, others, s);
}

}  // namespace kedge::node
