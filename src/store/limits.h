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

// Events kept in memory for watches to start from and for exactly(): as long as etcd's `continue` tokens live.
// kube-apiserver's watch cache promises 75 s. Under load the bytes win (store_options), of the resource that has the
// most; what is older is read from the log.
inline constexpr std::chrono::seconds history_age{300};
// Without a word about how much memory there is.
inline constexpr std::size_t history_bytes_default = 64 * 1024 * 1024;
// How exactly time is kept: a mark costs 16 bytes.
inline constexpr std::chrono::seconds history_mark_interval{1};
// Events dropped for their age at once: about 2 ms.
inline constexpr std::size_t history_drop_max = 16'384;
// Resources without events that are remembered: more than Kubernetes has, and some hundred custom ones.
inline constexpr std::size_t history_resources_max = 512;
// Events that a reader of the past looks at before others go first, and what it holds at once.
inline constexpr std::size_t history_read_max = 4096;
// States of the past that are kept for the next page of the same list. They share what hasn't changed since; what they
// hold beyond is bounded by the history's bytes.
inline constexpr std::size_t exact_snapshots_max = 32;

// The past is read from the log a stretch of revisions at a time. Stretches begin at multiples of this, so that many
// watches that start near each other share them.
inline constexpr std::uint64_t past_stretch = 1000;
// Stretches that are kept for whoever comes next, and for how long; half a megabyte each where objects are a kilobyte.
inline constexpr std::size_t past_stretches_max = 8;
inline constexpr std::chrono::seconds past_stretch_kept{10};
// Readers of the log's past at once: each has a stretch in its hands, and writes go on beside.
inline constexpr std::size_t past_readers_max = 2;

// What a scope's slowest watcher may be behind before it is ended.
inline constexpr std::size_t watch_lag_events_max = 10'000;
inline constexpr std::size_t watch_lag_bytes_max = 64 * 1024 * 1024;
// Events that next() gives at once.
inline constexpr std::size_t watch_batch_max = 500;

// As kine and kube-apiserver: every five minutes to where the log was five minutes ago, and never the newest 1,000.
inline constexpr std::chrono::seconds compaction_interval{300};
inline constexpr std::uint64_t compaction_retain_min = 1000;

// A log of more than so many revisions, and twice as many as there are objects, is compacted soon after a start, but
// for the newest ones: watches and lists of before the start go on there.
inline constexpr std::uint64_t compaction_early_min = 50'000;
inline constexpr std::uint64_t compaction_early_factor = 2;
inline constexpr std::uint64_t compaction_early_kept = 20'000;
inline constexpr std::chrono::seconds compaction_early_wait{10};
// How often the past in memory is looked at where nothing happens.
inline constexpr std::chrono::seconds history_trim_interval{1};

// Objects that are entered into a new index before others may run: some 100 us.
inline constexpr std::size_t index_step_objects = 64;

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
// And after how long of that what waits here is refused: with what a log takes to find it out, three seconds.
inline constexpr std::chrono::milliseconds refuse_after{700};
// What has been sent when the store is closed may take so long. The database may be away.
inline constexpr std::chrono::seconds close_wait{3};
// How often it is noted how far the database's history was seen: an fsync each time.
inline constexpr std::chrono::seconds seen_interval{60};

}  // namespace kedge::store
