// configs.h: a pod's specification as what the runtime is told: sandbox and containers, their resources, security,
// names, addresses and hosts file. Pure.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "node/pods/environment.h"
#include "node/pods/needs.h"
#include "node/resources/eviction.h"
#include "node/runtime/pod_runtime.h"
#include "node/runtime/runtime_state.h"

namespace kedge::node {

// What of the node goes into its pods.
struct pod_settings {
  node_view node;
  std::string cluster_domain = "cluster.local";
  std::vector<std::string> cluster_dns;
  dns_settings host_dns;                  // of the machine's resolv.conf
  std::string root = "/var/lib/kubelet";  // pods' folders are below root/pods
  std::string logs = "/var/log/pods";
  std::string log_links = "/var/log/containers";
  std::string runtime = "containerd";
  std::uint64_t memory_bytes = 0;
  int pods_max = 110;
  std::vector<std::string> unsafe_sysctls = {"net.ipv4.ip_forward",  // kubelet_settings.h has these
                                             "net.ipv6.conf.all.forwarding"};
  bool seccomp_default = false;
  int pulls_at_once = 0, pulls_a_second = 0, pulls_burst = 10;
  bool cpu_quota = true;        // limits of CPU are kept
  bool is_cgroup2 = false;      // the machine's cgroups are of version 2
  bool can_limit_swap = false;  // the kernel counts it
  std::uint64_t swap_bytes = 0;
  bool limited_swap = false;
  bool has_selinux = false;                        // the kernel labels files, and asks by labels
  std::vector<runtime_handler> handlers;           // of the runtime, as it is now
  bool kills_containers_whole = false;             // when they are out of memory
  std::optional<double> memory_throttling_factor;  // kubelet_settings.h has these two
  bool tiered_memory_reservation = false;
  std::int64_t pod_processes_max = -1;
  json::value node_labels;
  node_pressure pressure;                                 // as it is now
  std::set<std::string, std::less<>> plugin_resources;    // that device plugins have
  bool goes_down = false;                                 // the machine
  bool exclusive_cpus = false, exclusive_memory = false;  // the policy of who gives them is static

  std::string folder_of(std::string_view uid) const;  // root/pods/<uid>
  std::string logs_of(const json::value& pod) const;  // logs/<namespace>_<name>_<uid>
};

// From where on what asks for `request` bytes and may have `limit` is slowed down, by KEP-2570; nullopt: nowhere.
std::optional<std::int64_t> memory_high(std::int64_t request, std::int64_t limit, double factor);

// "Guaranteed", "Burstable" or "BestEffort".
std::string_view qos_class(const json::value& pod);
bool has_own_users(const json::value& pod);         // hostUsers: false
std::string cgroup_parent(const json::value& pod);  // for the cgroupfs driver

std::string hostname_of(const json::value& pod);
std::string domain_of(const json::value& pod, const pod_settings& s);  // "sub.ns.svc.cluster.local", or empty
dns_settings dns_of(const json::value& pod, const pod_settings& s);
dns_settings parse_resolv_conf(std::string_view text);
// /etc/hosts of the pod's containers. `node_hosts`: the node's own, for pods with its network.
std::string hosts_file(const json::value& pod, const std::vector<std::string>& ips, const pod_settings& s,
                       std::string_view node_hosts);

sandbox_config make_sandbox_config(const json::value& pod, const pod_settings& s, std::uint32_t attempt);

struct container_parts {
  const variables& env;
  const image_info& image;
  std::string image_ref;
  std::vector<container_mount> mounts;
  int restarts = 0;
  container_gets given = {};
  std::string process_target;  // of an ephemeral container: whose processes it sees
};
// Errors are those of CreateContainerConfigError.
result<container_config> make_container_config(const json::value& pod, const json::value& container,
                                               container_parts parts, const pod_settings& s);

// What a container is limited to, beside what the node gives it.
container_resources resources_of(const json::value& pod, const json::value& container, const pod_settings& s);
// Whether it may have some of the machine's swap.
bool may_swap(const json::value& pod, const json::value& container, const pod_settings& s);

// A port by number, or by its name among the container's ports.
result<int> port_of(const json::value& port, const json::value& container);

}  // namespace kedge::node
