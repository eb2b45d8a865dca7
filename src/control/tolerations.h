// tolerations.h: which taints a pod stands. Pure.
#pragma once

#include "json/value.h"

namespace kedge::control {

// Whether one of a pod's tolerations stands the taint. Operators beside Equal and Exists match nothing (Kubernetes has
// them as alpha, off).
inline bool tolerates(const json::value& toleration, const json::value& taint) noexcept {
  auto effect = toleration["effect"].as_string(), key = toleration["key"].as_string(),
       op = toleration["operator"].as_string();
  if (!effect.empty() && effect != taint["effect"].as_string()) return false;
  if (!key.empty() && key != taint["key"].as_string()) return false;
  if (op == "Exists") return true;
  return (op.empty() || op == "Equal") && toleration["value"].as_string() == taint["value"].as_string();
}

// The first of the pod's tolerations that stands the taint; null without one.
inline const json::value* toleration_of(const json::value& pod, const json::value& taint) noexcept {
  auto& list = pod["spec"]["tolerations"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (tolerates(list[i], taint)) return &list[i];
  return nullptr;
}

}  // namespace kedge::control
