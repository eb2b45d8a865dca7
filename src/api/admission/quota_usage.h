// quota_usage.h: what an object counts for in a namespace's quotas. The charging is the chain's (resource_quota.h).
// Also what a quota controller needs to recompute status.used.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pod/amounts.h"
#include "store/store.h"

namespace kedge::api {

// All that quotas can count of this object, by the names that spec.hard uses: {"pods": 1, "count/pods": 1,
// "requests.cpu": 500m, …}. A finished pod counts only as count/pods.
pod::amounts quota_usage(std::string_view group, std::string_view resource, const json::value& object);
// With what depends on others: a claim of devices, on its DeviceClasses and on the pod that it was made for.
pod::amounts quota_usage(std::string_view group, std::string_view resource, const json::value& object,
                         const store::snapshot& cluster);
// Whether spec.hard has a name that claims of devices may count for, beside their number.
bool quota_counts_claims(const json::value& hard);

// What stands behind a DeviceClass's name: how many of its devices claims may get.
inline constexpr std::string_view devices_of_class = ".deviceclass.resource.k8s.io/devices";

// Whether the quota's scopes and scopeSelector cover the object (a quota without scopes covers all; scopes only pods).
bool quota_covers(const json::value& quota, std::string_view group, std::string_view resource,
                  const json::value& object);

// Whether one scope of a quota is the object's; scopes are of pods alone.
bool quota_scope_fits(std::string_view scope, std::string_view op, const json::value& values, std::string_view group,
                      std::string_view resource, const json::value& object);

// The compute resources of spec.hard that every container must name, with the containers that don't:
// "requests.cpu for: a,b; requests.memory for: a"; empty when all is there.
std::string quota_missing(const json::value& quota, const json::value& pod);

}  // namespace kedge::api
