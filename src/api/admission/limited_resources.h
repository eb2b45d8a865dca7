// limited_resources.h: what nobody may use without a quota that covers it: ResourceQuotaConfiguration's
// limitedResources.
#pragma once

#include <string>
#include <vector>

#include "api/admission/admission.h"

namespace kedge::api {

struct limited_resource {
  std::string group, resource;
  std::vector<std::string> contains;  // what a counted name has in it: ".storageclass.storage.k8s.io/requests.storage"
  json::value scopes;                 // [{scopeName, operator, values}]
};

// Refuses a request that uses what is limited while no quota of the namespace covers it.
api_result<void> check_limited(const std::vector<limited_resource>& limited, const admission_request& r,
                               const store::snapshot& cluster);

}  // namespace kedge::api
