// memory_ledger.h: which containers have memory of which NUMA nodes: the kubelet's memory manager, policy Static
// (pkg/kubelet/cm/memorymanager). Values and choices, no I/O.
//
// What is counted is a promise: the kernel is told of the nodes (cpuset.mems), not of the amounts.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "node/numa/hints.h"

namespace kedge::node {

using memory_amounts = std::map<std::string, std::uint64_t, std::less<>>;  // "memory", "hugepages-2Mi" → bytes

bool is_memory_type(std::string_view resource);

// What a container asks for, in the order in which a pod's begin.
struct memory_need {
  std::string container;
  memory_amounts asked;
  bool is_init = false;  // it ends before those behind it begin: what it has, these may have too
  bool stays = false;    // a sidecar: it doesn't end
  bool is_whole = true;  // the amounts are whole bytes
};

struct memory_block {
  std::vector<int> nodes;
  std::string type;
  std::uint64_t size = 0;
  friend bool operator==(const memory_block&, const memory_block&) = default;
};

class memory_ledger {
 public:
  // `kept`: what the node keeps of each kind. errc::invalid: the settings don't fit that, or the machine;
  // errc::unsupported: it has too many nodes.
  static result<memory_ledger> make(const numa_nodes& nodes, const memory_manager_settings& settings,
                                    const pod::amounts& kept);

  hints_by_resource hints(std::string_view uid, const memory_need& need) const;
  hints_by_resource pod_hints(std::string_view uid, const std::vector<memory_need>& needs) const;
  // Gives one of these what it has not. The error's message is the admission's.
  result<void> give(std::string_view uid, const std::vector<memory_need>& needs, std::string_view container,
                    const numa_hint& near);
  // No more of the pod's containers are to be given any.
  void given_all(std::string_view uid);
  // The container is made: what of the init containers before it nobody took over is free. Whether any was.
  bool begins(std::string_view uid, const std::vector<memory_need>& needs, std::string_view container);
  // Frees what pods have that aren't among these. Whether any had.
  bool keep_only(const std::set<std::string, std::less<>>& uids);

  const std::vector<memory_block>* find(std::string_view uid, std::string_view container) const;  // null: none
  std::vector<memory_block> allocatable() const;

  // The kubelet's file memory_manager_state, with its checksums.
  std::string checkpoint() const;
  // errc::corrupt: it isn't as it was written; errc::conflict: it doesn't fit this machine or these settings.
  result<void> restore(std::string_view text);

 private:
  struct table {
    std::uint64_t total = 0, system_reserved = 0, allocatable = 0, reserved = 0, free = 0;
  };
  struct node_state {
    int assignments = 0;
    std::map<std::string, table, std::less<>> memory;
    std::vector<int> cells;  // those that share an allocation with it, itself among them
  };
  using machine_state = std::map<int, node_state>;
  using of_container = std::vector<memory_block>;

  std::vector<numa_hint> places(std::string_view uid, const memory_amounts& asked) const;
  std::uint64_t reusable(std::string_view uid, numa_mask nodes, std::string_view type) const;
  void use_again(std::string_view uid, const memory_need& need, const of_container& blocks);
  void shrink_init(std::string_view uid, const std::vector<memory_need>& needs, const memory_need& need,
                   const of_container& blocks);
  void release(const of_container& blocks);
  bool is_enough(numa_mask nodes, const memory_amounts& asked) const;
  bool is_torn(numa_mask nodes) const;
  std::uint64_t sum(numa_mask nodes, std::string_view type, std::uint64_t table::* of) const;
  static void take(machine_state& state, const std::vector<int>& nodes, const std::string& type, std::uint64_t size);
  bool is_of_machine(const json::value& machine) const;

  numa_mask nodes_ = 0;
  machine_state empty_, state_;
  std::map<std::string, std::map<std::string, of_container, std::less<>>, std::less<>> given_;  // by uid, container
  // Of init containers of pods that are being admitted, by uid and nodes.
  std::map<std::string, std::map<numa_mask, memory_amounts>, std::less<>> reusable_;
};

}  // namespace kedge::node
