// limits.h: the bounds of store/.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::store {

// What is written or loaded as one value: kube-apiserver's request limit is 3 MB; a row beyond this is no object of
// ours.
inline constexpr std::size_t value_bytes_max = 8 * 1024 * 1024;
// Keys of unreadable values that are logged one by one.
inline constexpr std::size_t unreadable_logged_max = 10;
// Objects nested deeper than Kubernetes' decoder allows would only be an attack on whoever walks them.
inline constexpr std::size_t nesting_max = 10'000;

// Writes that wait for the database on the owner core; who comes later waits for room.
inline constexpr std::size_t pending_ops_max = 4096;
inline constexpr std::size_t pending_bytes_max = 64 * 1024 * 1024;
// Commits under way at once: while one is being answered the next one is being written.
inline constexpr std::size_t commits_in_flight_max = 2;
// How often a value is sealed again because the keys changed before it landed: a rotation changes them four times.
inline constexpr unsigned sealings_max = 16;
// Versions of rows with keys that are remembered for unreadable values' sake. A rotation makes four.
inline constexpr std::size_t key_changes_max = 1024;
// Questions for the newest revision on their way at once: a reader that just missed one need not wait for its answer.
inline constexpr std::size_t questions_in_flight_max = 4;

// Events kept for watches to start from and for exactly(). kube-apiserver's watch cache promises 75 s; lists with
// `continue` want the five minutes of etcd's compaction. The other two bounds win under load.
inline constexpr std::chrono::seconds history_age{300};
inline constexpr std::size_t history_events_max = 100'000;
inline constexpr std::size_t history_bytes_max = 32 * 1024 * 1024;  // of versions that exist nowhere else
// A snapshot is kept in the history every so many events, so that exactly() undoes no more than that.
inline constexpr std::size_t history_anchor_events = 256;
// Results of exactly() kept for the next page of the same list.
inline constexpr std::size_t exact_snapshots_max = 8;

// What a prefix's slowest watcher may be behind before it is ended.
inline constexpr std::size_t watch_lag_events_max = 10'000;
inline constexpr std::size_t watch_lag_bytes_max = 64 * 1024 * 1024;
// Events that next() gives at once.
inline constexpr std::size_t watch_batch_max = 500;

// As kine and kube-apiserver: every five minutes to where the log was five minutes ago, and never the newest 1,000.
inline constexpr std::chrono::seconds compaction_interval{300};
inline constexpr std::uint64_t compaction_retain_min = 1000;

// Expired leases are looked for at most this often, and removed in groups of so many.
inline constexpr std::chrono::seconds lease_granularity{1};
inline constexpr std::size_t lease_group_max = 256;

// Between attempts to learn what became of writes without an answer, and to follow a shared log.
inline constexpr std::chrono::milliseconds retry_min{50};
inline constexpr std::chrono::milliseconds retry_max{2000};
// How long the callers of such writes wait: kubectl's patience, and long enough for a failover.
inline constexpr std::chrono::seconds unknown_outcome_wait{10};
inline constexpr std::chrono::seconds tail_wait{30};
// How long a linearizable read waits until this server has what the newest revision at its arrival was.
inline constexpr std::chrono::seconds latest_wait{10};
// How soon readyz tells that a shared database is away or back.
inline constexpr std::chrono::milliseconds health_interval{100};

}  // namespace kedge::store
