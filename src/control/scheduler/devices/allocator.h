// allocator.h: which devices of a node a pod's claims get, as kube-scheduler's allocator finds them (structured
// parameters, KEP-4381): the first that all requests and constraints take, in the order of pools, slices and devices by
// name.
//
// A search: device after device, request after request, claim after claim, and back where it leads to nothing. Pure;
// the steps are bounded (limits.h).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "control/scheduler/devices/pools.h"

namespace kedge::control::scheduler {

struct device_allocation {
  enum class kind : unsigned char {
    found,
    none,      // this node hasn't got them
    refused,   // nor could one say so for certain: `why`
    failed,    // a claim or a class is wrong, whatever the node: `why`
    given_up,  // the search was too long
  } what = kind::none;
  // status.allocation of each claim. A shared device's result has an empty shareID, which is the caller's to make.
  std::vector<json::value> results;
  std::string why;
};

// `steps`: what the search may still take; what it took is taken off.
device_allocation allocate_devices(std::span<const device_claim_ref> claims, const node_view& node,
                                   const devices_view& devices, std::uint64_t& steps);

}  // namespace kedge::control::scheduler
