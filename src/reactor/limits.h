// limits.h: the reactor's bounds.
#pragma once

#include <cstddef>

namespace kedge::reactor {

// Received bytes come in buffers of this size: a TLS record (16 KiB + 5 + tag) in two, a request in one.
inline constexpr std::size_t receive_buffer_bytes = 16 * 1024;
// Buffers in a core's ring: 1 MiB; when all are out, connections read into the heap for a while.
inline constexpr unsigned receive_ring_buffers = 64;
// Unread buffers of one connection before the kernel is told to keep the rest.
inline constexpr std::size_t receive_queue_max = 4;
// Submission queue entries; more in one turn are submitted in two goes.
inline constexpr unsigned ring_entries = 1024;
// Coroutine frames kept for reuse, for each size class of a core: a burst's frames beyond that go back to the heap.
inline constexpr std::size_t free_frames_max = 64;
// Timers, posts and completions handled before sockets are looked at again.
inline constexpr std::size_t events_per_turn_max = 1024;

}  // namespace kedge::reactor
