// status.h: what a pod's status says, from its specification, what is seen of it and what was said before: the
// kubelet's own words (pkg/kubelet/kubelet_pods.go, status/generate.go). Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "node/pods/seen.h"

namespace kedge::node {

// Why a container that shall run doesn't: CrashLoopBackOff, ErrImagePull … and a text for people.
struct waiting_reason {
  std::string reason, message;
};
using waiting_reasons = std::map<std::string, waiting_reason, std::less<>>;  // by container name

// Of a resize that waits or is under way (PodResizePending, PodResizeInProgress).
struct resize_condition {
  std::string type, reason, message;
  std::int64_t generation = 0;  // of the pod that asked for it
  friend bool operator==(const resize_condition&, const resize_condition&) = default;
};
inline constexpr std::string_view resize_pending = "PodResizePending", resize_under_way = "PodResizeInProgress";

struct status_input {
  const json::value& pod;     // as the API has it, with what was allocated to it
  const json::value& before;  // the status that was made last; at first the API's
  const pod_seen& seen;
  const probes_seen& probes;
  const waiting_reasons& waiting;
  const std::vector<std::string>& host_ips;
  std::string_view runtime;  // "containerd"
  wall_time now;
  bool terminal = false;  // its containers have ended and none will begin
  // Why it failed as a whole: Evicted, DeadlineExceeded …
  std::optional<waiting_reason> failure = {};
  bool evicted = false;              // by this node, for its own sake
  bool recursive_read_only = false;  // what the pod's runtime can
  std::vector<resize_condition> resizes = {};
};

json::value pod_status(const status_input& in);

// The status of a pod of which nothing is left: what isn't told to have ended has, nobody knows how; its phase is
// final.
json::value ended_status(const json::value& pod, json::value status);

// Of a pod that isn't admitted, so much as the kubelet says.
json::value rejected_status(const json::value& status);

// What the API's status lacks, as a strategic merge patch with the pod's uid; null when it says all of `wanted`.
json::value status_patch(const json::value& pod, const json::value& wanted);

// Of the kubelet's conditions, and those that others set.
bool is_own_condition(std::string_view type);
std::string_view condition_status_of(const json::value& status, std::string_view type);

}  // namespace kedge::node
