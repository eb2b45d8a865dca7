// limits.h: the bounds of this room, with the reason for each number.
#pragma once

namespace kedge::api {

// Tries to charge a quota that others charge at the same time (kube-apiserver tries 3 times, with fewer writers).
inline constexpr int quota_charge_tries_max = 8;

}  // namespace kedge::api
