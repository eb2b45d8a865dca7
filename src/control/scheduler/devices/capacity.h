// capacity.h: how much of a device's capacities a request takes, by the device's own rules (KEP-5075: values, or steps
// of a range). Pure; the words are kube-scheduler's.
#pragma once

#include <expected>
#include <string>

#include "control/scheduler/devices/objects.h"

namespace kedge::control::scheduler {

// What a request takes of each capacity of the device. An error can't be helped by another device.
std::expected<pod::amounts, std::string> consumption(const device& d, const pod::amounts& requested);

// Whether the device has as much left. `consumed` and `promised` may be null: nothing of it is taken. An error as
// above.
std::expected<bool, std::string> has_capacity(const device& d, const pod::amounts& requested,
                                              const pod::amounts* consumed, const pod::amounts* promised);

}  // namespace kedge::control::scheduler
