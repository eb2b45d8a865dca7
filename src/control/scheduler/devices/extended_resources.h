// extended_resources.h: extended resources that a DeviceClass gives devices for (KEP-5004): which of a pod's a node has
// as devices, and the claim that the scheduler makes for them. Pure.
//
//   container's requests, classes ─▶ one claim of the pod's, a request for each container and resource ─▶ allocated as
//   any claim ─▶ pod.status.extendedResourceClaimStatus tells the node which container gets which devices
#pragma once

#include <span>
#include <string>
#include <vector>

#include "control/scheduler/devices/devices_view.h"
#include "control/scheduler/node_view.h"

namespace kedge::control::scheduler {

// Whether a class stands for any resource that the pod asks for.
bool asks_for_devices(const pod_class& pod, const devices_view& devices);

struct resources_on_node {
  std::vector<std::string> as_devices;  // sorted
  bool lacks_some = false;              // which neither the node has nor a class stands for
};
// A node that counts a resource itself, by a device plugin, has it so.
resources_on_node extended_resources_on(const node_view& node, const pod_class& pod, const devices_view& devices);

// The devices of a class that the node reaches, and those of them that are given, to whomever. Nothing of both where a
// selector can't be evaluated.
struct device_counts {
  std::int64_t all = 0, given = 0;
};
device_counts count_devices(const node_view& node, const class_ref& of, const devices_view& devices);

// Until it is written it has no name of its own, and no uid.
struct claim_for_resources {
  device_claim_ref claim;
  json::value requests;  // spec.devices.requests
  json::value mappings;  // status.extendedResourceClaimStatus.requestMappings of the pod
};
claim_for_resources make_claim_for(const pod_view& pod, std::span<const std::string> resources,
                                   const devices_view& devices);

}  // namespace kedge::control::scheduler
