// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::api {

// Warnings of one kind about one object: the header has no room for more.
inline constexpr std::size_t warnings_told_max = 64;

// What a ConfigMap or Secret may hold.
inline constexpr std::size_t data_max_bytes = 1024 * 1024;

// Events disappear after an hour, as with kube-apiserver's --event-ttl.
inline constexpr std::uint32_t event_lease_seconds = 3600;

}  // namespace kedge::api
