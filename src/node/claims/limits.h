// limits.h: bounds of the claims of devices that a node prepares.
#pragma once

#include <cstddef>

#include "base/time.h"

namespace kedge::node {

using namespace std::chrono_literals;

inline constexpr duration claim_call_deadline = 45s;  // the kubelet's, of one call to a driver
// Who is gone for so long doesn't come back by itself: what it said of the node's devices is removed (the kubelet's).
inline constexpr duration lost_driver_patience = 30s;
inline constexpr duration slices_retry_first = 1s, slices_retry_most = 5min;
inline constexpr duration claims_look_interval = 60s;  // for claims of pods that are no more (the kubelet's)
inline constexpr std::size_t claim_drivers_max = 100;  // registered at once, old and new of each
inline constexpr std::size_t claim_answer_bytes_max = 4 * 1024 * 1024;
// Devices of an answer, and what is said of them: a claim has 32 devices, and a pod a few claims.
inline constexpr std::size_t claim_answer_items_max = 10'000;
inline constexpr std::size_t claim_checkpoint_bytes_max = 64 * 1024 * 1024;
inline constexpr std::size_t claim_slices_bytes_max = 64 * 1024 * 1024;  // of a node's ResourceSlices

}  // namespace kedge::node
