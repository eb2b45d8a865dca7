// limits.h: the bounds of the MySQL log.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::datastore::mysql {

// Rows of one answer of a tail or a load; values are 1 to 2 KB mostly.
inline constexpr int page_rows = 500;
// And bytes of their values, after the first: what a link of 200 KB/s carries within the session's time for a
// statement.
inline constexpr int tail_bytes_max = 1024 * 1024;
// Of others' rows that come with an append's answer; the rest is fetched beside it. What a busy server writes in a
// round trip.
inline constexpr int others_bytes_max = 64 * 1024;
// What a question that needs no disk may take, and a commit, before the database counts as away. readyz shall say so
// within 2 s.
inline constexpr std::chrono::milliseconds read_patience{1400};
inline constexpr std::chrono::milliseconds write_patience{1900};
// A link that is silent for so long is made again. Beyond the session's 10 s for a statement: the server hangs, or the
// network swallows packets.
inline constexpr std::chrono::milliseconds give_up_after{13'000};
// A batch that could not get its locks is tried again this long.
inline constexpr std::chrono::milliseconds append_retry{9000};
// Rows of others are looked for after this part of the time since the last one came, within these bounds: nobody tells
// of them. A look is one step down an index; leases are written every few seconds, so it is 50 ms and less mostly.
inline constexpr int poll_part = 32;
inline constexpr std::chrono::milliseconds poll_min{5};
inline constexpr std::chrono::milliseconds poll_max{250};
// Rows that a transaction of compaction looks at: some milliseconds. As kine: the newest ids that are always kept.
inline constexpr std::uint64_t compaction_rows = 1000;
inline constexpr std::uint64_t compaction_kept = 1000;
// Missing ids that are filled with rows of ours, as kine does, where a session that writes does not end.
inline constexpr std::uint64_t gap_filled_max = 1000;
// What a name may take in kine's table.
inline constexpr std::size_t name_bytes_max = 630;
// A value of the API server's largest object, escaped: a server that takes less in a packet is warned of.
inline constexpr std::size_t packet_bytes_wanted = 4 * 1024 * 1024;
// Statements of one batch go to the server in packets of about so much: it needs no more memory for them at once.
inline constexpr std::size_t packet_bytes_about = 8 * 1024 * 1024;
// What a packet has beside its statements, and room to spare.
inline constexpr std::size_t packet_head_bytes = 1024;
// Where INTEGER ids end (a database that kine made before BIGINT), and from which part of it on that is warned of.
inline constexpr std::uint64_t int4_max = 2'147'483'647;
inline constexpr double int4_warning = 0.8;
// What libmariadb's suspended calls need of a stack: OpenSSL is below them.
inline constexpr std::size_t call_stack_bytes = 256 * 1024;

}  // namespace kedge::datastore::mysql
