// topology_manager.h: a pod's admission to devices, CPUs and memory of its own: from each who has some to give where it
// can be had, then one set of NUMA nodes of these (numa/hints.h), then what is given near to it; a container after the
// other, or of the pod as a whole.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "node/numa/hints.h"
#include "node/pods/status.h"

namespace kedge::node {

class topology_manager {
 public:
  // Providers are asked, and give, in this order: what may have to wait for somebody comes last, for until then nobody
  // else can take what was found.
  topology_manager(const topology_manager_settings& settings, std::vector<hint_provider*> providers)
      : settings_(settings), providers_(std::move(providers)) {}

  // The machine's nodes; until then, and where they are none that can be aligned to, who minds isn't admitted.
  void use(result<numa_nodes> nodes);

  // Gives a pod's containers what they ask for; why the pod can't be admitted else. What was given before that is freed
  // with the pod.
  task<std::optional<waiting_reason>> admit(json::value pod);

 private:
  using refusal = std::optional<waiting_reason>;
  std::vector<hints_by_resource> hints(const json::value& pod, const json::value* container) const;
  refusal choose(const json::value& pod, const json::value* container, numa_hint& to) const;

  topology_manager_settings settings_;
  std::vector<hint_provider*> providers_;
  result<numa_policy> policy_ = fail(errc::unavailable, "the machine's NUMA nodes aren't known yet");
};

}  // namespace kedge::node
