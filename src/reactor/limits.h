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
// Coroutine frames kept for reuse by a core, all sizes together: what an update to 1,000 watchers, or 32 writes at
// once, takes. A burst's frames beyond that go back to the heap.
inline constexpr std::size_t free_frames_max_bytes = 1024 * 1024;
// How long a loop looks for what comes next before it sleeps, when the last wait was about as short: waking a sleeping
// virtual processor takes 30 to 60 µs.
inline constexpr std::chrono::microseconds look_time{50};
// Timers, posts and completions handled before sockets are looked at again.
inline constexpr std::size_t events_per_turn_max = 1024;

// --- turns (turn_meter.h)
// What a coroutine may take before maybe_yield() lets others run: twenty requests' worth, and five thousand times what
// it costs.
inline constexpr std::chrono::microseconds turn_step_time{1'000};
// After this long the rest of what is ready waits until the sockets have been looked at.
inline constexpr std::chrono::microseconds turn_time{5'000};
// Whoever takes longer at once should have yielded: its name is kept, in case the turn becomes a long one.
inline constexpr std::chrono::milliseconds turn_noted_time{10};
// A turn that others notice: it is counted and logged. kube-apiserver's clients see as much from a slow commit.
inline constexpr std::chrono::milliseconds turn_long_time{100};
// A loop's load (turn_meter::load) is added up in windows, and remembered for about so long.
inline constexpr std::chrono::milliseconds load_window{20};
inline constexpr std::chrono::milliseconds load_memory{500};
// Between two lines of the log about long turns of one loop.
inline constexpr std::chrono::seconds turn_report_pause{1};
// In a simulated world, where no time passes in a turn: every so many maybe_yield() yields.
inline constexpr unsigned simulated_yield_period = 16;

}  // namespace kedge::reactor
