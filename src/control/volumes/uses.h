// uses.h: which claims a pod's volumes are, and whether it still uses them.
#pragma once

#include <string>

#include "control/owners.h"
#include "control/pods.h"

namespace kedge::control {

// The claim that a pod's volume is: by its name, or one made for the pod; empty: it is none.
inline std::string claim_of(const json::value& pod, const json::value& volume) {
  if (auto name = volume["persistentVolumeClaim"]["claimName"].as_string(); !name.empty()) return std::string(name);
  if (!volume["ephemeral"].is_object()) return {};
  return std::string(pod["metadata"]["name"].as_string()) + "-" + std::string(volume["name"].as_string());
}

// An ephemeral volume means a claim that was made for its pod, and no other of that name.
inline bool was_made_for(const json::value& claim, const json::value& pod) {
  auto* owner = controller_of(claim);
  return owner && (*owner)["uid"] == pod["metadata"]["uid"];
}

// Its containers are at an end, and none will begin.
inline bool is_terminated(const json::value& pod) {
  if (is_finished(pod)) return true;
  if (!is_deleting(pod)) return false;
  auto& list = pod["status"]["containerStatuses"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["state"]["terminated"].is_null() && list[i]["state"]["waiting"].is_null()) return false;
  return true;
}

// A fast look, without parsing it.
inline bool may_use_claims(const store::object& pod) {
  auto text = pod.bytes();
  return text.find("\"persistentVolumeClaim\":{") != text.npos || text.find("\"ephemeral\":{") != text.npos;
}

}  // namespace kedge::control
