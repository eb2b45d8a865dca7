// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <cstddef>

namespace kedge::api {

// Tries to charge a quota that others charge at the same time (kube-apiserver tries 3 times, with fewer writers).
inline constexpr int quota_charge_tries_max = 8;

// Answers of the image policy webhook that a core remembers: kube-apiserver's number.
inline constexpr std::size_t image_answers_max = 1'024;

}  // namespace kedge::api
