// admit.h: whether a pod that is bound to this node may run on it, in the kubelet's words
// (pkg/kubelet/lifecycle/predicate.go). Pure.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "node/pods/configs.h"
#include "node/pods/status.h"

namespace kedge::node {

// nullopt: it may. `others`: the pods that take something of the node.
std::optional<waiting_reason> why_not_admitted(const json::value& pod,
                                               const std::vector<std::shared_ptr<const json::value>>& others,
                                               const pod_settings& s);

// Of one that runs with what was `allocated` to it and asks for something else by now: why it can't have that. With the
// reason "Infeasible" it never can, with any other it waits (allocation/handlers.go).
std::optional<waiting_reason> why_not_resized(const json::value& pod, const json::value& allocated,
                                              const std::vector<std::shared_ptr<const json::value>>& others,
                                              const pod_settings& s);

}  // namespace kedge::node
