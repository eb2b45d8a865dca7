// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::api {

// How long a read waits for a revision that this server has not seen yet before it answers 504.
inline constexpr std::chrono::seconds future_revision_wait{3};

// A list of more items than this is sent in pieces of as many, or of so many bytes; below it goes out in one gathered
// write. A piece takes TLS half a millisecond.
inline constexpr std::size_t list_piece_items = 2048;
inline constexpr std::size_t list_piece_bytes = 1024 * 1024;

// What a core keeps of lists in protobuf while their clients take them, so that nothing is encoded twice: the pods of a
// large cluster once. Of more, the length alone is kept.
inline constexpr std::size_t lists_encoded_ahead_bytes = 128 * 1024 * 1024;

// Watches without timeoutSeconds live for a random time in [min, 2*min), as kube-apiserver's
// --min-request-timeout=1800.
inline constexpr std::int64_t watch_lifetime_min_seconds = 1800;
inline constexpr std::chrono::seconds bookmark_interval{60};
inline constexpr std::chrono::seconds bookmark_before_end{2};
// Events put together into one write when several wait: bounds the spans of a gathered write.
inline constexpr std::size_t watch_batch_events = 128;

}  // namespace kedge::api
