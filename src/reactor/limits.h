// limits.h: the reactor's bounds.
#pragma once

#include <chrono>
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
// Coroutine frames kept for reuse by a core, all sizes together: what an update to 1,000 watchers, or 32 writes at once, takes.
// A burst's frames beyond that go back to the heap.
inline constexpr std::size_t free_frames_max_bytes = 1024 * 1024;
// How long a loop looks for what comes next before it sleeps, when the last wait was about as short: waking a sleeping virtual
// processor takes 30 to 60 µs.
inline constexpr std::chrono::microseconds look_time{50};
// Timers, posts and completions handled before sockets are looked at again.
inline constexpr std::size_t events_per_turn_max = 1024;

}  // namespace kedge::reactor
