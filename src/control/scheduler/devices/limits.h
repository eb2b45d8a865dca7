// limits.h: how much work the allocation of devices may be.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::control::scheduler {

// Devices of one claim (the API's AllocationResultsMaxSize).
inline constexpr std::size_t devices_of_claim_max = 32;
// Steps of the search for one pod on one node, and for one pod on all nodes. Which devices go together is a search
// through combinations; kube-scheduler ends it after ten seconds of a node, which none of the others on this loop shall
// wait for. Most allocations need as many steps as they have devices.
inline constexpr std::uint64_t search_steps_max = 500'000;
inline constexpr std::uint64_t search_steps_of_pod_max = 2'000'000;
// Compiled selectors that are kept: clusters have a handful of classes, and claims made of few templates.
inline constexpr std::size_t selectors_kept_max = 256;
// Entries of a list of alternatives (the API's FirstAvailableDeviceRequestMaxSize).
inline constexpr std::int64_t alternatives_max = 8;

}  // namespace kedge::control::scheduler
