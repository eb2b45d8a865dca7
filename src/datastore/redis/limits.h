// limits.h: the bounds of the Redis log.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::datastore::redis {

// Redis runs nothing else while it runs a script: one call stays around a millisecond (about 10 µs an operation).
inline constexpr std::size_t call_ops_max = 128;
inline constexpr std::size_t call_bytes_max = 256 * 1024;
// Entries of one answer of a tail or a load; values are 1 to 2 KB mostly. The append script has the same number.
inline constexpr int page_rows = 500;
// Of the first step of past(); what the steps give says how many the next ones have.
inline constexpr std::size_t past_rows_first = 2;
// Entries looked at by one step of compaction, a millisecond of the server.
inline constexpr int compaction_step = 200;
// As kine: the newest revisions are kept, unless they are large: then as many as fill half of history_bytes_max.
inline constexpr std::uint64_t compaction_kept = 1000;
// All of the log is in the server's memory: after this much has been written it is compacted without waiting for the
// owner to ask (facts 3.3).
inline constexpr std::size_t history_bytes_max = 64 * 1024 * 1024;

// What a connection attempt may take, with TLS and authentication: three lost SYNs.
inline constexpr std::chrono::milliseconds connect_timeout{5000};
// Between attempts, doubling. The server's return is seen well within a second.
inline constexpr std::chrono::milliseconds retry_min{20};
inline constexpr std::chrono::milliseconds retry_max{300};
// A write or a linearizable read waits so long for a connection that is being made again, before it is refused.
inline constexpr std::chrono::milliseconds reconnect_patience{1000};
// The server hangs (a slow disk under appendfsync always), or the network swallows packets.
inline constexpr std::chrono::milliseconds answer_timeout{10'000};
// A call that was refused for a reason that passes is tried again this long.
inline constexpr std::chrono::milliseconds append_retry{9000};
// Entries of others are looked for this often where news come, and where the subscription is away or forbidden.
inline constexpr std::chrono::milliseconds poll_with_news{1000};
inline constexpr std::chrono::milliseconds poll_without_news{50};
// The subscription is asked for a sign of life this often, and given up when none comes for three times as long.
inline constexpr std::chrono::milliseconds ping_interval{2000};
// A server that is gone for so long has no call on its way any more: its fence is forgotten.
inline constexpr int fence_kept_s = 7 * 24 * 3600;
// How long replicas are waited for, unless the endpoint says otherwise.
inline constexpr std::chrono::milliseconds replica_timeout_default{1000};

}  // namespace kedge::datastore::redis
