// limits.h: how much work the allocation of devices may be.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::control::scheduler {

// Devices of one claim (the API's AllocationResultsMaxSize).
inline constexpr std::size_t devices_of_claim_max = 32;
// Steps of the search for one pod on one node, and for one pod on all nodes. Which devices go together is a search
// through combinations; kube-scheduler ends it after ten seconds of a node. A step is a device that is looked at: some
// tenths of a microsecond. Most allocations need a few for each device of the nodes.
inline constexpr std::uint64_t search_steps_max = 1'000'000;
inline constexpr std::uint64_t search_steps_of_pod_max = 2'000'000;
// Of them, those of one turn of the loop, which others wait for: a few milliseconds.
inline constexpr std::uint64_t search_steps_of_turn = 10'000;
// Whoever may write a claim writes its selectors, too: what they cost is counted in steps. What it takes to begin with
// a device, and how much of an expression's cost, as the API counts it, is as long as a step.
inline constexpr std::uint64_t steps_of_selection = 8, selector_cost_of_step = 8;
// Devices of a pool that are checked in a step, when a node's pools are gathered.
inline constexpr std::size_t gathered_in_step = 8;
// How many choices the search may have open, one for each device, alternative and claim. A pod's claims are as many as
// its author likes.
inline constexpr std::size_t search_depth_max = 1024;
// Pods that may use a claim (the API's ResourceClaimReservedForMaxSize).
inline constexpr std::size_t users_of_claim_max = 256;
// Compiled selectors that are kept: clusters have a handful of classes, and claims made of few templates.
inline constexpr std::size_t selectors_kept_max = 256;
// Entries of a list of alternatives (the API's FirstAvailableDeviceRequestMaxSize).
inline constexpr std::int64_t alternatives_max = 8;

}  // namespace kedge::control::scheduler
