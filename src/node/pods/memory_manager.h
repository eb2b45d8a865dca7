// memory_manager.h: memory of certain NUMA nodes that containers have (numa/memory_ledger.h): given when a pod is
// admitted, told when a container is made.
//
//   admission ─▶ hints, give ─▶ memory_ledger ─▶ memory_manager_state        container that is made ─▶ begins
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/limits.h"
#include "node/numa/memory_ledger.h"
#include "node/offline/checkpoint_file.h"
#include "node/pods/manager.h"
#include "reactor/sync.h"

namespace kedge::node {

class memory_manager final : public hint_provider {
 public:
  struct parts {
    pod_manager& pods;
    const kubelet_settings& settings;
    std::string file;  // "/var/lib/kubelet/memory_manager_state"
  };
  explicit memory_manager(parts p) : parts_(std::move(p)), file_(parts_.file, memory_state_bytes_max) {}
  memory_manager(const memory_manager&) = delete;
  memory_manager& operator=(const memory_manager&) = delete;

  // Reads what was given before. Once, before all else; nothing where the policy is None.
  task<void> begin(result<numa_nodes> nodes, std::uint64_t memory_bytes);
  // Frees what pods had that have gone.
  void free_unused();

  hints_by_resource hints(const json::value& pod, const json::value& container) const override;
  hints_by_resource pod_hints(const json::value& pod) const override;
  task<result<void>> give(json::value pod, json::value container, numa_hint near) override;
  // The pod has all that it asks for, or isn't admitted.
  task<void> given_all(std::string uid);
  // A container is made: the NUMA nodes that it is to have its memory of ("0,1"); empty: any.
  task<std::string> begins(json::value pod, std::string container);

  std::vector<memory_block> own(std::string_view uid, std::string_view container) const;
  std::vector<memory_block> allocatable() const;

 private:
  task<void> save();

  parts parts_;
  std::optional<memory_ledger> ledger_;  // none: see problem_, or the policy is None
  std::string problem_;
  checkpoint_file file_;
};

}  // namespace kedge::node
