// kubelet_settings.h: what a node can be told of the kubelet's own flags and of KubeletConfiguration, by their meaning,
// with the defaults that K3s's kubelet has. cli reads them (cli/kubelet_arguments.cc).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "pod/amounts.h"

namespace kedge::node {

// What a node may run short of.
enum class eviction_signal : unsigned char {
  memory_available,
  nodefs_available,
  nodefs_inodes_free,
  imagefs_available,
  imagefs_inodes_free,
  pid_available,
};
// So much, or such a part of what there is.
struct eviction_amount {
  std::uint64_t amount = 0;
  float fraction = 0;  // of the capacity; 0: `amount` counts
};
struct eviction_threshold {
  eviction_signal of{};
  bool soft = false;
  eviction_amount below;
  duration grace{0};        // how long it has to be so
  eviction_amount reclaim;  // by how much more is made room for
};

// What is kept from pods by limits of control groups: enforceNodeAllocatable.
struct enforcement {
  bool pods = true;
  enum class kept : unsigned char { none, all, compressible };  // compressible: CPU alone
  kept system = kept::none, kube = kept::none;
  std::string system_group, kube_group;  // systemReservedCgroup, kubeReservedCgroup: groups that are there
};

// At a shutdown of the machine: pods of so high a priority, up to the next one's, have so long.
struct shutdown_grace {
  std::int64_t priority = 0, seconds = 0;
};

// cpuManagerPolicy static: containers of Guaranteed pods that ask for whole CPUs have them for themselves.
struct cpu_manager_settings {
  bool is_static = false;
  // cpuManagerPolicyOptions
  bool full_cores = false;  // full-pcpus-only
  bool over_numa = false;   // distribute-cpus-across-numa
  bool by_socket = false;   // align-by-socket
  bool over_cores = false;  // distribute-cpus-across-cores
  bool strict = false;      // strict-cpu-reservation: nobody has the reserved ones
  bool by_cache = false;    // prefer-align-cpus-by-uncorecache
  std::string reserved;     // reservedSystemCPUs: those that the node keeps; empty: as many as are reserved
  duration look_interval = std::chrono::seconds(10);  // cpuManagerReconcilePeriod
};

// memoryManagerPolicy Static: containers of Guaranteed pods have their memory of as few NUMA nodes as can be.
struct memory_manager_settings {
  bool is_static = false;
  struct reservation {
    int node = 0;
    pod::amounts limits;  // memory, hugepages-2Mi …
  };
  std::vector<reservation> reserved;  // reservedMemory: what each node keeps
};

// topologyManagerPolicy: what devices, CPUs and memory of a container (or pod) have to be near to each other.
struct topology_manager_settings {
  enum class policy_kind : unsigned char { none, best_effort, restricted, single_numa_node };
  policy_kind policy = policy_kind::none;
  bool of_pods = false;         // topologyManagerScope pod
  bool prefer_closest = false;  // prefer-closest-numa-nodes
  int nodes_max = 8;            // max-allowable-numa-nodes
};

struct kubelet_settings {
  std::uint16_t port = 10250;
  int pods_max = 110;                           // maxPods
  int pods_per_cpu = 0;                         // podsPerCore; 0: any number, up to pods_max
  std::string cluster_domain;                   // empty: the cluster's
  std::vector<std::string> cluster_dns;         // empty: the cluster's
  std::string resolv_conf;                      // empty: found as K3s finds it
  bool cpu_quota = true;                        // cpuCFSQuota: limits of CPU are kept
  pod::amounts system_reserved, kube_reserved;  // taken off what pods may have
  enforcement enforced;                         // and how that is made sure of
  std::int64_t pod_processes_max = -1;          // podPidsLimit; -1: none
  cpu_manager_settings cpus;
  memory_manager_settings memory;
  topology_manager_settings topology;
  std::uint32_t ids_per_pod = 65536;               // userNamespaces.idsPerPod: of a pod with users of its own
  bool limited_swap = false;                       // memorySwap.swapBehavior LimitedSwap; else NoSwap
  std::optional<bool> single_process_oom_kill;     // unset: with cgroup v2 all of a container is killed
  std::optional<double> memory_throttling_factor;  // memory.high between request and limit; cgroup v2
  bool tiered_memory_reservation = false;          // memoryReservationPolicy TieredReservation; cgroup v2
  std::vector<shutdown_grace> shutdown;            // by priority, lowest first; empty: a shutdown isn't waited for
  std::vector<std::string> labels, taints;         // beside --node-label and --node-taint
  bool checkpoints = true;                         // the feature gate ContainerCheckpoint
  // allowedUnsafeSysctls: by name, or by their beginning and "*". K3s's.
  std::vector<std::string> unsafe_sysctls = {"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"};
  bool seccomp_default = false;  // seccompDefault: RuntimeDefault where a pod says nothing
  // Images that are pulled at once (serializeImagePulls: 1; maxParallelImagePulls), and in a second, after a burst
  // (registryPullQPS, registryBurst); 0: as many as there are, where a kubelet pulls one at a time and five in a
  // second.
  int pulls_at_once = 0, pulls_a_second = 0, pulls_burst = 10;
  duration status_interval = std::chrono::seconds(10);  // nodeStatusUpdateFrequency
  int images_told_max = 50;                             // nodeStatusMaxImages; -1: all

  // When pods have to go. K3s's: 5 % of either file system, and a tenth is made room for.
  std::vector<eviction_threshold> thresholds = {
      {.of = eviction_signal::imagefs_available, .below = {.fraction = 0.05F}, .reclaim = {.fraction = 0.1F}},
      {.of = eviction_signal::nodefs_available, .below = {.fraction = 0.05F}, .reclaim = {.fraction = 0.1F}},
  };
  duration pressure_transition = std::chrono::minutes(5);
  std::int64_t eviction_grace_max_seconds = 0;  // of soft thresholds: evictionMaxPodGracePeriod

  // Unused images go when the disk is used so far, until it is less so.
  int image_gc_high_percent = 85, image_gc_low_percent = 80;
  duration image_age_min = std::chrono::minutes(2);  // imageMinimumGCAge
  duration image_age_max{0};                         // imageMaximumGCAge; 0: however old

  // Containers' logs: a file that has grown so large is set aside, and no more than so many are kept.
  std::uint64_t log_bytes_max = 10 * 1024 * 1024;         // containerLogMaxSize; 0: they grow without end
  int log_files_max = 5;                                  // containerLogMaxFiles, the one that is written to among them
  duration log_look_interval = std::chrono::seconds(10);  // containerLogMonitorInterval
};

// Of a machine with so many CPUs.
inline int pods_max_of(const kubelet_settings& s, int cpus) {
  if (s.pods_per_cpu <= 0) return s.pods_max;
  return static_cast<int>(std::min<std::int64_t>(s.pods_max, std::int64_t{s.pods_per_cpu} * cpus));
}

}  // namespace kedge::node
