// limits.h: the bounds of the API layer, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::api {

// kube-apiserver's limit on a request body; the 413 message names it.
inline constexpr std::size_t body_max_bytes = 3 * 1024 * 1024;
// What is larger is worked on one at a time (storage::take_turn): below this the work on a request is a millisecond or
// two.
inline constexpr std::size_t large_bytes = 128 * 1024;

// kube-apiserver's default deadline of a request that is not long-running; `timeout=` may only shorten it.
inline constexpr std::chrono::seconds request_timeout{60};

// How long a read waits for a revision that this server has not seen yet before it answers 504.
inline constexpr std::chrono::seconds future_revision_wait{3};

// Below this size an answer is not worth compressing (kube-apiserver's threshold).
inline constexpr std::size_t gzip_min_bytes = 128 * 1024;
// Uncompressed input a turn of the loop compresses: about 1 ms at zlib level 1.
inline constexpr std::size_t gzip_piece_bytes = 64 * 1024;

// A list of more items than this is sent in pieces of as many, or of so many bytes; below it goes out in one gathered
// write. A piece takes TLS half a millisecond.
inline constexpr std::size_t list_piece_items = 2048;
inline constexpr std::size_t list_piece_bytes = 1024 * 1024;

// Watches without timeoutSeconds live for a random time in [min, 2*min), as kube-apiserver's
// --min-request-timeout=1800.
inline constexpr std::int64_t watch_lifetime_min_seconds = 1800;
inline constexpr std::chrono::seconds bookmark_interval{60};
inline constexpr std::chrono::seconds bookmark_before_end{2};
// How soon a watch of a custom resource ends after its definition was changed or removed.
inline constexpr std::chrono::seconds custom_watch_check{5};
// Events put together into one write when several wait: bounds the spans of a gathered write.
inline constexpr std::size_t watch_batch_events = 128;

// Encoded frames and decoded objects of recent events that a core keeps for its other watchers.
inline constexpr std::size_t frame_cache_entries = 256;
inline constexpr std::size_t parsed_cache_entries = 128;

// Warnings: a text longer than this is cut when all of them together pass the second bound.
inline constexpr std::size_t warning_text_max_bytes = 256;
inline constexpr std::size_t warnings_max_bytes = 4096;
// And no more headers than this: Python's clients refuse an answer with more than a hundred, of which others take some.
inline constexpr std::size_t warnings_max = 64;

// Warnings of one kind about one object: the header has no room for more.
inline constexpr std::size_t warnings_told_max = 64;

// What is told of one wrong value, and of all that is wrong with an object.
inline constexpr std::size_t value_told_bytes = 16 * 1024;
inline constexpr std::size_t causes_bytes_max = 1024 * 1024;

// A refused change shows the lines that differ, unless that takes more than some 10 ms of the loop: finding them isn't
// linear.
inline constexpr std::size_t difference_lines_max = 20'000;
inline constexpr std::size_t difference_steps_max = 500'000;

// A name made from generateName: base cut to 58, 5 random characters, at most 8 tries.
inline constexpr std::size_t generated_base_max = 58;
inline constexpr int generate_name_tries = 8;

// Internal retries of a patch or unconditional update that lost a race.
inline constexpr int conflict_tries = 5;

// Objects' own limits.
inline constexpr std::size_t annotations_max_bytes = 256 * 1024;
inline constexpr std::size_t data_max_bytes = 1024 * 1024;

// Events disappear after an hour, as with kube-apiserver's --event-ttl.
inline constexpr std::uint32_t event_lease_seconds = 3600;

// How many bootstrap objects are written at once: they share commits.
inline constexpr std::size_t bootstrap_batch = 64;
// How long a server waits for what another one is about to create; it is in the same commit, or the next.
inline constexpr std::chrono::seconds others_create_time{5};

// Nesting of a label selector's text is none, but its length in requirements is bounded against hostile queries.
inline constexpr std::size_t selector_requirements_max = 1000;

}  // namespace kedge::api
