// limits.h: the bounds of the PostgreSQL log.
#pragma once

#include <chrono>
#include <cstdint>

namespace kedge::datastore::postgres {

// Rows of one answer of a tail or a load; values are 1 to 2 KB mostly.
inline constexpr int page_rows = 500;
// And bytes of their values, after the first: what a link of 200 KB/s carries within the session's statement_timeout.
inline constexpr int tail_bytes_max = 1024 * 1024;
// Of others' rows that come with an append's answer; the rest is fetched beside it. What a busy server writes in a
// round trip.
inline constexpr int others_bytes_max = 64 * 1024;
// What a question that needs no disk may take, and a commit, before the database counts as away. readyz shall say so
// within 2 s.
inline constexpr std::chrono::milliseconds read_patience{1400};
inline constexpr std::chrono::milliseconds write_patience{1900};
// Of several hosts each gets so long: one that swallows packets must not keep the next from being asked.
inline constexpr std::chrono::milliseconds host_timeout{2000};
// A link that is silent for so long is made again. Beyond the session's statement_timeout of 10 s: the server hangs, or
// the network swallows packets.
inline constexpr std::chrono::milliseconds give_up_after{13'000};
// A batch that could not get its locks is tried again this long.
inline constexpr std::chrono::milliseconds append_retry{9000};
// Rows of others are looked for this often where notifications come, which also notices a database that vanished; and
// where somebody writes who sends none (K3s).
inline constexpr std::chrono::milliseconds poll_with_notifications{400};
inline constexpr std::chrono::milliseconds poll_with_peers{100};
inline constexpr std::chrono::seconds peers_remembered{60};
// Rows that a transaction of compaction looks at: some milliseconds. As kine: the newest ids that are always kept.
inline constexpr std::uint64_t compaction_rows = 1000;
inline constexpr std::uint64_t compaction_kept = 1000;
// Where int4 ids end (a database made before 2024), and from which part of it on that is warned of.
inline constexpr std::int64_t int4_max = 2'147'483'647;
inline constexpr double int4_warning = 0.8;

}  // namespace kedge::datastore::postgres
