// availability.h: whether an API service is available, in kube-aggregator's words. Pure.
//
//   its Service ─▶ port ─▶ EndpointSlices ─▶ one that is ready ─▶ nullopt: ask its discovery ─▶ Passed |
//   FailedDiscoveryCheck
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/aggregation/services.h"
#include "json/value.h"

namespace kedge::api::aggregation {

// Of the condition Available.
struct availability {
  std::string status, reason, message;
  friend bool operator==(const availability&, const availability&) = default;
};

// What the objects say: `service` null when there is none, `slices` those of the service. nullopt: nothing against it.
std::optional<availability> judge_objects(const api_service& s, const json::value& service,
                                          const std::vector<json::value>& slices);
availability passed();
availability failed_discovery(std::string message);

// Sets it in an APIService's status; lastTransitionTime is `now` when the status is another. False when it stands there
// already.
bool set_available(json::value& object, const availability& a, wall_time now);

}  // namespace kedge::api::aggregation
