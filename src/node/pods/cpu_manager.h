// cpu_manager.h: CPUs that containers have for themselves (cpus/cpu_ledger.h): given when a pod is admitted, told when
// a container is made, and taken from what all others run on.
//
//   admission ─▶ hints, give ─▶ cpu_ledger ─▶ cpu_manager_state        container that is made ─▶ cpus_of
//   each 10 s, and when somebody was given some: containers that run on other CPUs than they shall are moved
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "node/cpus/cpu_ledger.h"
#include "node/limits.h"
#include "node/offline/checkpoint_file.h"
#include "node/pods/manager.h"
#include "node/pods/status.h"

namespace kedge::node {

class cpu_manager final : public hint_provider {
 public:
  struct parts {
    pod_manager& pods;
    pod_runtime& runtime;
    const kubelet_settings& settings;
    std::string file;  // "/var/lib/kubelet/cpu_manager_state"
  };
  explicit cpu_manager(parts p) : parts_(std::move(p)), file_(parts_.file, cpu_state_bytes_max) {}
  cpu_manager(const cpu_manager&) = delete;
  cpu_manager& operator=(const cpu_manager&) = delete;

  // Until dropped. Once. Nothing where the policy is none.
  task<void> run();
  // What was given before is known.
  task<void> ready();
  // Frees what pods had that have gone.
  void free_unused();

  hints_by_resource hints(const json::value& pod, const json::value& container) const override;
  hints_by_resource pod_hints(const json::value& pod) const override;
  task<result<void>> give(json::value pod, json::value container, numa_hint near) override;
  // The pod has all that it asks for, or isn't admitted.
  task<void> given_all();
  // On which CPUs a container runs; empty: on any.
  task<std::string> cpus_of(std::string uid, std::string container);
  // Whether it has some for itself; its quota isn't kept then. Of an empty name: any of the pod's.
  bool has_own(std::string_view uid, std::string_view container = {}) const;
  cpu_set own(std::string_view uid, std::string_view container) const;
  cpu_set allocatable() const { return ledger_ ? ledger_->allocatable() : cpu_set(); }

 private:
  task<void> begin();
  task<void> save();
  task<void> move_containers();

  parts parts_;
  std::optional<cpu_ledger> ledger_;  // none: see problem_, or the policy is none
  std::string problem_;
  checkpoint_file file_;
  std::map<std::string, std::string> applied_;  // by container id: the CPUs that it was moved to
  reactor::event begun_, given_;
};

}  // namespace kedge::node
