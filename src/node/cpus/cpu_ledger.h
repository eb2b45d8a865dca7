// cpu_ledger.h: which containers have CPUs for themselves, and which CPUs all others share: the kubelet's static CPU
// manager policy. Values and choices, no I/O.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node/cpus/assignment.h"
#include "node/kubelet_settings.h"
#include "node/numa/hints.h"

namespace kedge::node {

// A container that is to have so many for itself, in the order in which a pod's begin.
struct cpu_need {
  std::string container;
  int count = 0;
  bool is_init = false;  // it ends before those behind it begin: what it has, these may have too
  bool stays = false;    // a sidecar: it doesn't end
};

class cpu_ledger {
 public:
  // `reserved`: how many the node keeps, unless the settings name them. errc::invalid: it can't be.
  static result<cpu_ledger> make(cpu_topology topology, const cpu_manager_settings& settings, int reserved);

  hints_by_resource hints(std::string_view uid, const std::vector<cpu_need>& needs, std::string_view container) const;
  hints_by_resource pod_hints(std::string_view uid, const std::vector<cpu_need>& needs) const;
  // Gives one of these what it has not, of these NUMA nodes first. The error's message is the admission's;
  // errc::conflict when whole cores are asked for and can't be given (SMTAlignmentError).
  result<void> give(std::string_view uid, const std::vector<cpu_need>& needs, std::string_view container,
                    const std::optional<numa_mask>& near);
  // Frees what pods have that aren't among these. Whether any had.
  bool keep_only(const std::set<std::string, std::less<>>& uids);

  bool has_own(std::string_view uid) const { return given_.contains(uid); }
  const cpu_set* own(std::string_view uid, std::string_view container) const;  // null: it has the shared ones
  const cpu_set& shared() const noexcept { return shared_; }
  cpu_set allocatable() const { return difference(topology_.cpus(), reserved_); }

  // The kubelet's file cpu_manager_state, with its checksums.
  std::string checkpoint() const;
  // errc::corrupt: it isn't as it was written; errc::conflict: it doesn't fit this machine or these settings.
  result<void> restore(std::string_view text);

 private:
  result<cpu_set> choose(const cpu_set& of, int count) const;
  result<void> check_whole_cores(int count) const;
  cpu_set reusable(std::string_view uid, const std::vector<cpu_need>& needs, std::string_view before) const;
  cpu_set near_to(numa_mask nodes, const cpu_set& of) const;
  numa_hints places(const cpu_set& free, const cpu_set& reusable, int count) const;
  bool in_few_sockets(numa_mask nodes, int least_nodes) const;

  cpu_topology topology_;
  cpu_manager_settings settings_;
  cpu_set reserved_, reserved_cores_, shared_;
  std::map<std::string, std::map<std::string, cpu_set, std::less<>>, std::less<>> given_;  // by uid, container
};

}  // namespace kedge::node
