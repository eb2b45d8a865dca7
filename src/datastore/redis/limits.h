// limits.h: the bounds of the Redis log.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::datastore::redis {

// Redis runs nothing else while it runs a script: one call stays around a millisecond (about 10 µs an operation).
inline constexpr std::size_t call_ops_max = 128;
inline constexpr std::size_t call_bytes_max = 256 * 1024;
// Entries of one answer of a tail or a load, and what their values shall have together: how many are asked for follows
// from how large the last were. The first number is what a page may come to all the same, times the largest value.
inline constexpr std::size_t page_rows_first = 100;
inline constexpr std::size_t page_rows_max = 500;
inline constexpr std::size_t page_bytes_wanted = 1024 * 1024;
// Of others' entries that come with an append's answer; the rest is fetched beside it.
inline constexpr std::size_t others_bytes_max = 64 * 1024;
// Of the first step of past(); what the steps give says how many the next ones have.
inline constexpr std::size_t past_rows_first = 2;
// Entries looked at by one step of compaction, a millisecond of the server.
inline constexpr int compaction_step = 200;
// As kine: the newest revisions are kept, unless they are large: then as many as fill half of history_bytes_max.
inline constexpr std::uint64_t compaction_kept = 1000;
// All of the log is in the server's memory: after this much has been written it is compacted without waiting for the
// owner to ask (facts 3.3).
inline constexpr std::size_t history_bytes_max = 64 * 1024 * 1024;

// Without a byte for so long the server counts as away. One connection has questions and commits (a slow disk under
// appendfsync always). readyz shall say so within 2 s.
inline constexpr std::chrono::milliseconds answer_patience{1500};
// A link that is silent for so long is made again: the server hangs, or the network swallows packets.
inline constexpr std::chrono::milliseconds give_up_after{10'000};
// A call that was refused for a reason that passes is tried again this long.
inline constexpr std::chrono::milliseconds append_retry{9000};
// Entries of others are looked for this often where news come, which also notices a server that vanished, and where the
// subscription is away or forbidden.
inline constexpr std::chrono::milliseconds poll_with_news{400};
inline constexpr std::chrono::milliseconds poll_without_news{50};
// The subscription is asked for a sign of life this often, and given up when none comes for three times as long.
inline constexpr std::chrono::milliseconds ping_interval{2000};
// A server that is gone for so long has no call on its way any more: its fence is forgotten.
inline constexpr int fence_kept_s = 7 * 24 * 3600;
// How long replicas are waited for, unless the endpoint says otherwise.
inline constexpr std::chrono::milliseconds replica_timeout_default{1000};

}  // namespace kedge::datastore::redis
