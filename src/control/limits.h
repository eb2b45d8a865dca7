// limits.h: the bounds of control/, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::control {

// Between a gap in the events (a slow reader, a compaction) and the next start of all controllers.
inline constexpr std::chrono::milliseconds restart_pause{100};
// Objects that a start looks at before it gives way.
inline constexpr std::size_t scan_piece = 256;

// Parsed objects that a control loop keeps, by the bytes of their text; as values they take some five times as much.
inline constexpr std::size_t values_text_max_bytes = 1024 * 1024;
inline constexpr std::size_t values_max = 4096;

// Writes of one plan on their way at once: they share commits, and leave the store's queue (4,096) to others.
inline constexpr std::size_t writes_at_once = 64;
// What a refused plan waits before it is tried again, at least; then doubling. client-go's limit per key begins at 5
// ms, which makes some hundred tries of what a quota refuses.
inline constexpr std::chrono::seconds refused_pause{1};

// What an object's note of what was applied to it may unfold to: a request's largest body has 3 MiB.
inline constexpr std::size_t applied_text_max_bytes = 16 * 1024 * 1024;
// How long objects wait until the definition of their kind, which came with them, is served. That takes some 10 ms.
inline constexpr std::chrono::seconds kind_wait{5};
inline constexpr std::chrono::milliseconds kind_poll{20};
// Objects whose labels are looked at before the loop may do other things; a look is a search in a short text.
inline constexpr std::size_t labels_piece = 4096;

// A key that failed waits 5 ms, doubling to 1,000 s: client-go's rate limiter.
inline constexpr std::chrono::milliseconds backoff_first{5}, backoff_most{1'000'000};
inline constexpr unsigned backoff_doublings_max = 18;

// Events that wait to be written by one recorder; client-go's broadcaster drops beyond 1,000 as well.
inline constexpr std::size_t notices_max = 1000;
// Different events that a recorder remembers in order to count up: client-go's cache size. Beyond it counting starts
// over.
inline constexpr std::size_t told_max = 4096;

}  // namespace kedge::control
