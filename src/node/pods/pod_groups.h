// pod_groups.h: the control groups above containers: what all pods may have together, a class of service, a pod.
//
//   /kubepods                      what the node has, less what is reserved
//   ├─ pod<uid>                    Guaranteed
//   ├─ burstable     cpu: all that its pods ask for      └─ pod<uid>
//   └─ besteffort    cpu: the least there is             └─ pod<uid>
//
// As the kubelet's container manager has them (pkg/kubelet/cm), so that either goes on with the other's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/cgroups/groups.h"
#include "node/kubelet_settings.h"
#include "node/machine/system_info.h"
#include "node/pods/manager.h"

namespace kedge::node {

inline constexpr std::string_view all_pods_group = "/kubepods";

// Of a pod as a whole. Pure, as those that follow.
group_limits limits_of_pod(const json::value& pod, const pod_settings& s);
// Of the classes Burstable and BestEffort, with these pods, and of all pods where that hangs on them.
group_limits limits_of_burstable(const shared_pods& pods, const pod_settings& s);
group_limits limits_of_best_effort();
group_limits protection_of_pods(const shared_pods& pods, const pod_settings& s);
// Of all pods together: the machine's, less what is reserved when that is enforced. `processes_max`: of the kernel.
group_limits limits_of_all_pods(const system_info& machine, std::int64_t processes_max, const kubelet_settings& k);
// What more is kept from pods than the machine has, in the kubelet's words; empty: nothing.
std::string reserved_beyond(const system_info& machine, const kubelet_settings& k);
// Of a group that exists: what is reserved for it.
group_limits limits_of_reserved(const pod::amounts& reserved, enforcement::kept what);

class pod_groups {
 public:
  struct parts {
    const kubelet_settings& settings;
    const pod_settings& pods;
    std::function<system_info()> machine;
    std::function<shared_pods()> active;  // that take something of the node
    // An event about the node.
    std::function<void(bool warning, std::string reason, std::string message)> tell;
    group_tree tree;
  };
  explicit pod_groups(parts p) : parts_(std::move(p)) {}
  pod_groups(const pod_groups&) = delete;
  pod_groups& operator=(const pod_groups&) = delete;

  // Makes what is above pods, and keeps it true until dropped. Once.
  task<void> run();
  // The pod's own, and those above it with this pod among theirs. The error is for its event.
  // `unthrottled`: its containers have CPUs for themselves, and no quota is kept.
  task<result<void>> prepare(json::value pod, bool unthrottled);
  // Of a pod that runs: what its group has now, and another limit of it.
  task<result<group_reading>> read(json::value pod);
  task<result<void>> limit(json::value pod, group_limits limits);

 private:
  task<result<void>> limit_classes(shared_pods pods);
  task<void> enforce();
  task<void> enforce_reserved(std::string what, std::string group, pod::amounts reserved, enforcement::kept how);

  parts parts_;
};

}  // namespace kedge::node
