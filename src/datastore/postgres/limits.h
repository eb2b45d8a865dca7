// limits.h: the bounds of the PostgreSQL log.
#pragma once

#include <chrono>
#include <cstdint>

namespace kedge::datastore::postgres {

// Rows of one answer of a tail or a load; values are 1 to 2 KB mostly.
inline constexpr int page_rows = 500;
// What a connection attempt may take: three lost SYNs.
inline constexpr std::chrono::milliseconds connect_timeout{5000};
// Between attempts, doubling. The database's return is seen well within a second.
inline constexpr std::chrono::milliseconds retry_min{20};
inline constexpr std::chrono::milliseconds retry_max{300};
// A write or a linearizable read waits so long for a connection that is being made again, before it is refused: a
// restart of PostgreSQL that nothing waits for takes about that.
inline constexpr std::chrono::milliseconds reconnect_patience{1000};
// Beyond the session's statement_timeout of 10 s: the server hangs, or the network swallows packets.
inline constexpr std::chrono::milliseconds answer_timeout{13'000};
// A batch that could not get its locks is tried again this long.
inline constexpr std::chrono::milliseconds append_retry{9000};
// Rows of others are looked for this often where notifications come; and where somebody writes who sends none (K3s).
inline constexpr std::chrono::milliseconds poll_with_notifications{1000};
inline constexpr std::chrono::milliseconds poll_with_peers{100};
inline constexpr std::chrono::seconds peers_remembered{60};
// A missing id is asked for again after these pauses before it is filled; a commit takes a few milliseconds.
inline constexpr std::chrono::milliseconds hole_pauses[] = {std::chrono::milliseconds(0), std::chrono::milliseconds(2),
                                                            std::chrono::milliseconds(8),
                                                            std::chrono::milliseconds(20)};
// Ids filled by one statement: a jump of the sequence may have left a million of them.
inline constexpr std::uint64_t fill_step = 10'000;
// As kine: revisions a transaction of compaction covers, and the newest ones that are always kept.
inline constexpr std::uint64_t compaction_step = 1000;
inline constexpr std::uint64_t compaction_kept = 1000;
// Of an int4 id (a database made before 2024), from where on its end is warned of.
inline constexpr double int4_warning = 0.8;

}  // namespace kedge::datastore::postgres
