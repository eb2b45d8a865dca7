// pods.h: finding pods, and what several controllers write of one.
#pragma once

#include <functional>

#include "api/registry/indexes.h"
#include "control/conditions.h"
#include "control/plan.h"
#include "control/view.h"

namespace kedge::control {

// The pods bound to a node ("": to none), in key order, until `visit` returns false. In keys alone first: a pod is
// parsed when its turn comes.
void each_pod_on(const view& cluster, std::string_view node, const std::function<bool(const json::value&)>& visit);

inline std::string_view node_of(const json::value& pod) noexcept { return pod["spec"]["nodeName"].as_string(); }
inline std::string_view phase_of(const json::value& pod) noexcept { return pod["status"]["phase"].as_string(); }
inline bool is_finished(const json::value& pod) noexcept {
  return phase_of(pod) == "Succeeded" || phase_of(pod) == "Failed";
}
// A fast look at one member of an object's text, by its path ("spec.nodeName"), without parsing it.
std::string text_at(const store::object& o, std::string_view path);

// The condition DisruptionTarget on a pod that is about to be deleted; nullopt when it stands there.
std::optional<change> disruption_target(const json::value& pod, std::string reason, std::string message,
                                        const moment& now);

}  // namespace kedge::control
