#include "node/pods/topology_manager.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"

namespace kedge::node {

namespace {

using json::value;
using policy = topology_manager_settings::policy_kind;

waiting_reason refused(const error& e) {
  if (e.code == errc::conflict) return {"SMTAlignmentError", e.message};
  return {"UnexpectedAdmissionError", fmt::format("Allocate failed due to {}, which is unexpected", e.message)};
}

std::vector<value> containers_of(const value& pod) {
  std::vector<value> out;
  for (auto* list : {"initContainers", "containers"})
    if (auto* all = pod["spec"][list].array()) out.insert(out.end(), all->begin(), all->end());
  return out;
}

}  // namespace

void topology_manager::use(result<numa_nodes> nodes) {
  policy_ = nodes ? numa_policy::make(settings_, *nodes) : result<numa_policy>(std::unexpected(nodes.error()));
  if (!policy_ && settings_.policy != policy::none)
    log::warning("pods' devices, CPUs and memory can't be kept near to each other: {}", policy_.error().message);
}

std::vector<hints_by_resource> topology_manager::hints(const value& pod, const value* container) const {
  std::vector<hints_by_resource> out;
  for (auto* p : providers_) out.push_back(container ? p->hints(pod, *container) : p->pod_hints(pod));
  return out;
}

topology_manager::refusal topology_manager::choose(const value& pod, const value* container, numa_hint& to) const {
  auto all = hints(pod, container);
  if (!policy_) {
    if (std::ranges::all_of(all, [](auto& h) { return h.empty(); })) return std::nullopt;
    return refused(policy_.error());
  }
  auto answer = policy_->merge(all);
  to = answer.best;
  if (answer.admitted) return std::nullopt;
  return waiting_reason{"TopologyAffinityError", "Resources cannot be allocated with Topology locality"};
}

task<std::optional<waiting_reason>> topology_manager::admit(value pod) {
  numa_hint near;
  const bool aligns = settings_.policy != policy::none;
  if (aligns && settings_.of_pods)
    if (auto why = choose(pod, nullptr, near)) co_return why;
  for (auto& container : containers_of(pod)) {
    if (aligns && !settings_.of_pods)
      if (auto why = choose(pod, &container, near)) co_return why;
    for (auto* p : providers_)
      if (auto can = p->can_give(pod, container); !can) co_return refused(can.error());
    for (auto* p : providers_)
      if (auto given = co_await p->give(pod, container, near); !given) co_return refused(given.error());
  }
  co_return std::nullopt;
}

}  // namespace kedge::node
