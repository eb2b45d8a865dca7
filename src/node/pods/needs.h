// needs.h: what a pod has of the node beside its containers: a control group, devices, CPUs of its own. The real one is
// node_keepers.h; where there is none, nothing is needed.
#pragma once

#include <optional>
#include <string>

#include "json/value.h"
#include "node/cgroups/groups.h"
#include "node/devices/plugin_messages.h"
#include "node/pods/status.h"
#include "reactor/task.h"

namespace kedge::node {

// What a container was given.
struct container_gets {
  device_options devices;
  std::string cpus;               // on which it runs; empty: on any
  bool own_cpus = false;          // nobody else does
  std::string memory_nodes;       // NUMA nodes that its memory is to be of; empty: any
  std::optional<id_range> users;  // see pod_needs::users
};

class pod_needs {
 public:
  virtual ~pod_needs() = default;

  // Before a sandbox of the pod is made.
  virtual task<result<void>> prepare(json::value pod) = 0;
  // The control group of a pod that runs: what it has, and another limit of it.
  virtual task<result<group_reading>> group_of(json::value pod) = 0;
  virtual task<result<void>> limit_group(json::value pod, group_limits limits) = 0;
  // The claims of devices of a pod, before its sandbox is made; and when nothing of it runs any more.
  virtual task<result<void>> prepare_claims(json::value pod) = 0;
  virtual task<result<void>> release_claims(json::value pod) = 0;
  // When it is admitted: why it isn't, or nothing.
  virtual task<std::optional<waiting_reason>> allocate(json::value pod) = 0;
  // The ids that the users of a pod with hostUsers: false are on the machine, where the runtime's handler can have it
  // so.
  virtual task<result<id_range>> users(json::value pod, std::string handler) = 0;
  // When a container is made.
  virtual task<result<container_gets>> given(json::value pod, json::value container) = 0;
  // The health of what containers have, in a status.
  virtual json::value add_health(const json::value& pod, json::value status) const = 0;
};

}  // namespace kedge::node
