// node_keepers.h: what a node does for its pods as a whole, beside their workers: control groups above them, a good
// order when the machine goes down, word of a machine that is out of memory, devices of plugins,
// CPUs and memory that containers have for themselves, users of pods' own. One object, so that
// the agent starts all of it at once; none of it in a simulated world, which has neither groups nor a bus.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>

#include "node/claims/claim_manager.h"
#include "node/devices/pod_resources.h"
#include "node/pods/cpu_manager.h"
#include "node/pods/memory_manager.h"
#include "node/pods/pod_groups.h"
#include "node/pods/shutdown.h"
#include "node/pods/topology_manager.h"
#include "node/pods/user_namespaces.h"
#include "node/runtime/runtime_state.h"
#include "reactor/scope.h"

namespace kedge::node {

class node_keepers final : public pod_needs {
 public:
  struct parts {
    api_client& api;
    pod_cluster& cluster;
    std::string node;
    pod_manager& pods;
    pod_runtime& runtime;
    const kubelet_settings& settings;
    pod_settings& of_pods;  // is told that the machine goes down
    std::function<system_info()> machine;
    std::function<const std::vector<runtime_handler>&()> handlers;  // of the runtime, as it is now
    reactor::network* network = nullptr;                            // of plugins' sockets; null: this machine's
    std::function<void()> look;                                     // the Node has news
    // An event about the node.
    std::function<void(bool warning, std::string reason, std::string message)> tell;
  };
  explicit node_keepers(parts p);

  // Until dropped. Once.
  task<void> run();
  plugin_handler& claim_plugins() noexcept { return claims_; }
  plugin_handler& device_plugins() noexcept { return devices_; }
  device_counts devices() const { return devices_.ledger().counts(); }  // what the Node says of them

  task<result<void>> prepare(json::value pod) override;
  task<result<group_reading>> group_of(json::value pod) override;
  task<result<void>> limit_group(json::value pod, group_limits limits) override;
  task<result<void>> prepare_claims(json::value pod) override;
  task<result<void>> release_claims(json::value pod) override;
  task<std::optional<waiting_reason>> allocate(json::value pod) override;
  task<result<id_range>> users(json::value pod, std::string handler) override;
  task<result<container_gets>> given(json::value pod, json::value container) override;
  json::value add_health(const json::value& pod, json::value status) const override;

 private:
  task<void> tell_oom_kills();
  // Of pods that take something of the node; nullopt: not all are known yet.
  std::optional<std::set<std::string, std::less<>>> active_uids() const;
  task<void> find_numa_nodes();

  parts parts_;
  std::optional<pod_groups> groups_;  // none in a simulated world
  shutdown_keeper shutdown_;
  device_manager devices_;
  claim_manager claims_;
  pod_resources resources_;
  cpu_manager cpus_;
  memory_manager memory_;
  topology_manager topology_;
  reactor::event nodes_known_;
  user_namespaces users_;
  reactor::scope tasks_;  // last: ends first
};

}  // namespace kedge::node
