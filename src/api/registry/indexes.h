// indexes.h: what the store finds objects by (store/index.h): what is asked again and again, by every kubelet, by
// controllers.
//
// The index of a field that a selector may name is called after the place of the field: the resource's key prefix and
// the path in the stored version. What lacks the field is found under "".
#pragma once

#include <string_view>
#include <vector>

#include "store/index.h"

namespace kedge::api {

// Every pod, by the node that it is bound to.
inline constexpr std::string_view pods_by_node = "/registry/pods/spec.nodeName";
// Pods, by the name of each claim that they use, those made for their ephemeral volumes too.
inline constexpr std::string_view pods_by_claim = "/registry/pods/spec.volumes.persistentVolumeClaim.claimName";
// Pods, by the name of each claim of devices that they use, and of each template that claims are made for them from.
inline constexpr std::string_view pods_by_device_claim = "/registry/pods/spec.resourceClaims.resourceClaimName";
inline constexpr std::string_view pods_by_claim_template =
    "/registry/pods/spec.resourceClaims.resourceClaimTemplateName";
// Pods that have an address of their own, by each of their addresses; nodes by each of theirs (names aside).
inline constexpr std::string_view pods_by_address = "/registry/pods/status.podIPs.ip";
inline constexpr std::string_view nodes_by_address = "/registry/minions/status.addresses.address";
// Objects of all kinds, by the uid of each of their owners.
inline constexpr std::string_view objects_by_owner = "/registry/metadata.ownerReferences.uid";
// Events (of both groups, which are the same objects), by the uid of what they are about.
inline constexpr std::string_view events_by_object = "/registry/events/involvedObject.uid";
inline constexpr std::string_view attachments_by_node = "/registry/volumeattachments/spec.nodeName";
inline constexpr std::string_view attachments_by_volume =
    "/registry/volumeattachments/spec.source.persistentVolumeName";
inline constexpr std::string_view resource_slices_by_node = "/registry/resourceslices/spec.nodeName";

// For store_options: all of these.
std::vector<store::index> builtin_indexes();
// For store_options: how much of a key names its resource.
std::size_t resource_size(std::string_view key) noexcept;

}  // namespace kedge::api
