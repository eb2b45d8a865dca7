// dynamic_resources.h: what DynamicResources found out about the claims of a pod, for who writes it down.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "control/scheduler/cycle.h"
#include "control/scheduler/devices/extended_resources.h"

namespace kedge::control::scheduler {

// The claims of a pod, and what those are to get that have no devices yet.
struct device_plan {
  struct one {
    device_claim_ref claim;
    json::value allocation;  // null: it has devices
  };
  std::vector<one> claims;
  // The claim that is to be made for its extended resources (extended_resources.h).
  struct made {
    claim_for_resources what;
    json::value allocation;
  };
  std::optional<made> for_resources;
  bool empty() const noexcept { return claims.empty() && !for_resources; }
};

// The pod's claims, each once, in its order; or why they can't be used yet.
std::expected<std::vector<device_claim_ref>, std::string> device_claims_of(const pod_view& pod,
                                                                           const devices_view& devices);

// Of a placed pod on its node. Shared devices' results have no shareID yet.
device_plan device_plan_on(const profile& by, const filter_states& states, std::string_view node);
// A claim of a refused pod whose devices no node can use, and that nobody else uses: other devices may do. Null: none.
device_claim_ref useless_claim(const profile& by, const filter_states& states, const pod_view& pod);
// The claim that an earlier try of a refused pod made for its extended resources: it is to go, so that the next finds
// its devices anew. Null: there is none.
device_claim_ref claim_left_over(const profile& by, const filter_states& states);

// Whether all devices of the claim are bound; an error when one can't be (device binding failed: …).
std::expected<bool, std::string> is_bound(const device_claim& claim);
bool has_binding_conditions(const device_claim& claim);

}  // namespace kedge::control::scheduler
