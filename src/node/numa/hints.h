// hints.h: on which NUMA nodes something can be had, and on which all that a pod asks for is to be: the kubelet's
// topology manager (pkg/kubelet/cm/topologymanager). Pure.
//
//   devices, CPUs, memory ─ hints: sets of nodes, some preferred ─▶ numa_policy::merge ─▶ one set ─▶ whoever gives
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"
#include "node/kubelet_settings.h"
#include "node/numa/numa_nodes.h"
#include "reactor/task.h"

namespace kedge::node {

struct numa_hint {
  std::optional<numa_mask> nodes;  // nullopt: any
  bool preferred = false;
  friend bool operator==(const numa_hint&, const numa_hint&) = default;
};
// Where a resource can be had. nullopt: wherever; none: nowhere.
using numa_hints = std::optional<std::vector<numa_hint>>;
using hints_by_resource = std::map<std::string, numa_hints, std::less<>>;

// Who has something of the node to give that lies on NUMA nodes.
class hint_provider {
 public:
  virtual ~hint_provider() = default;

  // Of what a container asks for, and of what the pod does as a whole. Empty: wherever.
  virtual hints_by_resource hints(const json::value& pod, const json::value& container) const = 0;
  virtual hints_by_resource pod_hints(const json::value& pod) const = 0;
  // What `give` would say of what there is now, before anybody gives the container something.
  virtual result<void> can_give(const json::value&, const json::value&) const { return {}; }
  // Gives a container what it asks for, as near to these as can be. The error's message is the admission's;
  // errc::conflict: whole cores are asked for, and there aren't so many.
  virtual task<result<void>> give(json::value pod, json::value container, numa_hint near) = 0;
};

class numa_policy {
 public:
  // errc::invalid: the machine has too many nodes, or doesn't tell how far they are from each other.
  static result<numa_policy> make(const topology_manager_settings& settings, const numa_nodes& nodes);

  struct answer {
    numa_hint best;
    bool admitted = true;
  };
  answer merge(const std::vector<hints_by_resource>& of_providers) const;

 private:
  // Which of two sets is better.
  numa_mask nearer(numa_mask a, numa_mask b) const;
  numa_mask better(numa_mask current, numa_mask candidate, int wanted) const;

  topology_manager_settings settings_;
  numa_mask all_ = 0;
  std::map<int, std::map<int, std::uint64_t>> distances_;  // with prefer_closest
};

}  // namespace kedge::node
