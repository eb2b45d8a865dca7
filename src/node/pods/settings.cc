#include "node/pods/settings.h"

#include <tuple>
#include <utility>

#include "base/log.h"
#include "node/cgroups/groups.h"
#include "node/machine/selinux.h"
#include "node/pods/host_dns.h"
#include "reactor/offload.h"

namespace kedge::node {

task<void> take_settings(pod_settings& into, const agent_config& config, const cluster_config& cluster,
                         const system_info& machine) {
  auto& kubelet = config.kubelet;
  into.node.name = config.node_name;
  into.node.host_ips = config.node_ips;
  into.cluster_domain = kubelet.cluster_domain.empty() ? cluster.cluster_domain : kubelet.cluster_domain;
  into.cluster_dns = kubelet.cluster_dns.empty() ? cluster.cluster_dns : kubelet.cluster_dns;
  into.root = config.kubelet_folder();
  into.logs = config.pod_logs_folder();
  into.log_links = config.log_links_folder();
  into.memory_bytes = machine.memory_bytes;
  into.pods_max = pods_max_of(kubelet, machine.cpus);
  into.unsafe_sysctls = kubelet.unsafe_sysctls;
  into.seccomp_default = kubelet.seccomp_default;
  into.pulls_at_once = kubelet.pulls_at_once;
  into.pulls_a_second = kubelet.pulls_a_second;
  into.pulls_burst = kubelet.pulls_burst;
  into.cpu_quota = kubelet.cpu_quota;
  if (auto kernel = co_await reactor::offload([] {
        const group_tree tree;
        return std::tuple(tree.is_unified(), tree.counts_swap(), has_selinux());
      }))
    std::tie(into.is_cgroup2, into.can_limit_swap, into.has_selinux) = *kernel;
  if (into.has_selinux && !config.selinux)
    log::warning(
        "SELinux is enabled on this machine and --selinux isn't said: containers run without labels of their own");
  into.kills_containers_whole = !kubelet.single_process_oom_kill.value_or(!into.is_cgroup2);
  into.swap_bytes = machine.swap_bytes;
  into.limited_swap = kubelet.limited_swap;
  into.memory_throttling_factor = kubelet.memory_throttling_factor;
  into.tiered_memory_reservation = kubelet.tiered_memory_reservation;
  into.pod_processes_max = kubelet.pod_processes_max;
  into.exclusive_cpus = kubelet.cpus.is_static;
  into.exclusive_memory = kubelet.memory.is_static;
  auto resolv_conf = kubelet.resolv_conf.empty() ? config.resolv_conf : kubelet.resolv_conf;
  if (auto dns = co_await reactor::offload([resolv_conf] { return usable_dns(resolv_conf); }))
    into.host_dns = *std::move(dns);
}

}  // namespace kedge::node
