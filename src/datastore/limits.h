// limits.h: the bounds of datastore/.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::datastore {

// One commit carries at most this much: larger groups gain nothing and make the others wait (facts: 100 rows reach
// 11,000/s).
inline constexpr std::size_t batch_ops_max = 1024;
inline constexpr std::size_t batch_bytes_max = 4 * 1024 * 1024;
// One page of load(): what crosses a thread at once while starting.
inline constexpr std::size_t page_entries_max = 2000;
inline constexpr std::size_t page_bytes_max = 4 * 1024 * 1024;
// Revisions that one step of past() looks at: some milliseconds of the writer thread.
inline constexpr std::uint64_t past_step_revisions = 2000;
// Rows that are stepped over between two that are wanted, rather than looking up the second.
inline constexpr std::uint64_t live_gap_max = 8;
// Jobs that wait for SQLite's writer thread. The store keeps two appends in flight; the rest is compaction and load.
inline constexpr std::size_t writer_jobs_max = 64;

// A passive checkpoint when nothing waits and the WAL is larger than the first, in any case when larger than the
// second: a checkpoint can't be divided, so a small WAL keeps it short.
inline constexpr std::size_t wal_idle_checkpoint_bytes = 4 * 1024 * 1024;
inline constexpr std::size_t wal_forced_checkpoint_bytes = 32 * 1024 * 1024;
inline constexpr std::int64_t wal_size_limit_bytes = 64 * 1024 * 1024;
// Pages in memory. Reads come from the store, so only the insertion points of three trees need to stay here.
inline constexpr int sqlite_cache_kib = 4096;
// How long they stay while nothing is written: the next write reads some ten of them again, from the system's cache.
inline constexpr std::chrono::seconds sqlite_cache_kept{5};

// Rows looked at by one step of compaction, a few milliseconds of the writer thread.
inline constexpr std::uint64_t compaction_step_rows = 500;
// Free pages of a SQLite file are given back when they are more than the first and more than this part of the file:
// below that the next writes use them again. A file that can't give any back is rewritten when they are more than the
// second of each.
inline constexpr std::uint64_t free_bytes_kept = 4 * 1024 * 1024;
inline constexpr std::uint64_t free_part_kept = 8;  // an eighth
inline constexpr std::uint64_t rewrite_free_bytes_min = 16 * 1024 * 1024;
inline constexpr std::uint64_t rewrite_free_part = 3;
// Pages given back by one step, and rows and bytes copied by one: some milliseconds of the writer thread.
inline constexpr std::uint64_t give_back_step_pages = 256;
inline constexpr std::size_t rewrite_step_rows = 500;
inline constexpr std::size_t rewrite_step_bytes = 1024 * 1024;
// How long a database that another process holds is waited for: as long as K3s does.
inline constexpr std::chrono::seconds lock_wait_default{30};
// Links to a shared database. What an attempt to make one may take, with TLS and authentication: three lost SYNs.
inline constexpr std::chrono::milliseconds connect_timeout{5000};
// Between attempts, doubling. The database's return is seen well within a second.
inline constexpr std::chrono::milliseconds link_retry_min{20};
inline constexpr std::chrono::milliseconds link_retry_max{300};
// A write or a linearizable read waits so long for a link that is being made again, or silent, before it is refused: a
// restart of a database that nothing waits for takes about that.
inline constexpr std::chrono::milliseconds reconnect_patience{1000};
// How often a link is looked at that is silent, by those who wait for it; and by who makes it again.
inline constexpr std::chrono::milliseconds silence_interval{50};
inline constexpr std::chrono::milliseconds link_watch_interval{1000};
// A missing id in kine's table is asked for again after these pauses before it is asked who may still commit it; a
// commit takes a few milliseconds.
inline constexpr std::chrono::milliseconds gap_pauses[] = {std::chrono::milliseconds(0), std::chrono::milliseconds(2),
                                                           std::chrono::milliseconds(8), std::chrono::milliseconds(20)};
// Then, while somebody may, so often; and after so long the log says who.
inline constexpr std::chrono::milliseconds gap_look_again{20};
inline constexpr std::chrono::seconds gap_told_after{5};

// After a crash of the machine revisions that agents have seen may be lost: the next ones start this much higher.
inline constexpr std::uint64_t revision_jump = 1'000'000;

}  // namespace kedge::datastore
