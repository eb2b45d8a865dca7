// allocation_text.h: a claim's status.allocation of the devices that were found for it. Pure.
#pragma once

#include <span>

#include "control/scheduler/devices/objects.h"

namespace kedge::control::scheduler {

// A request of the claim: itself, or the alternative that was taken.
struct chosen_request {
  const device_request* is;
  const device_class* of_class;
};
struct chosen_device {
  const device_request* request;
  const device* is;
  const slice* in;
  bool shared;
  pod::amounts consumed;
};

// `requests` are in the claim's order.
json::value allocation_of(const device_claim& claim, std::span<const chosen_request> requests,
                          std::span<const chosen_device> devices, std::string_view node);

}  // namespace kedge::control::scheduler
