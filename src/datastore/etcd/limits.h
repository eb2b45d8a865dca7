// limits.h: the bounds of the etcd log.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::datastore::etcd {

// Members that an endpoint may name: etcd's own advice is seven at most, and all are dialled at once.
inline constexpr std::size_t members_max = 32;
// Transactions on their way at once: below the streams that one HTTP/2 connection takes (net/limits.h), with room for
// the watch and for questions.
inline constexpr std::size_t transactions_in_flight_max = 192;
// Keys of one answer of a range, and what their values shall have together: how many are asked for follows from how
// large the last were. The message's own bound is net/limits.h's.
inline constexpr std::size_t page_keys_first = 100;
inline constexpr std::size_t page_keys_max = 2000;
inline constexpr std::size_t page_bytes_wanted = 1024 * 1024;
// What is kept of the watch for who follows it: an older one is read from the database.
inline constexpr std::size_t news_bytes_max = 8 * 1024 * 1024;

// Without a byte for so long the database counts as away. readyz shall say so within 2 s.
inline constexpr std::chrono::milliseconds answer_patience{1400};
// A member that is silent for so long, or a write that it doesn't answer, is given up for another member: a leader that
// is gone takes the proposals with it that were on their way.
inline constexpr std::chrono::milliseconds give_up_after{2000};
// How long a question about members, or a change of them, has: twice what a cluster takes to elect and agree.
inline constexpr std::chrono::milliseconds members_timeout{5000};
// How often the cluster is asked a question that a majority has to answer, when nothing else is; and looked at for what
// is not answered.
inline constexpr std::chrono::milliseconds probe_interval{500};
inline constexpr std::chrono::milliseconds watch_over_interval{100};
// How often a member is asked for its size and alarms.
inline constexpr std::chrono::milliseconds status_interval{5000};
// A write that was refused for a reason that passes is tried again this long.
inline constexpr std::chrono::milliseconds append_retry{9000};
// News come by themselves; this only bounds a wait.
inline constexpr std::chrono::milliseconds poll_interval{1000};

// A lease is shared by the writes of a while with the same time to live: a twentieth of that, within these. etcd ends
// what the leading server didn't (its store knows the time to the second), so there is room for it to be first.
inline constexpr std::uint32_t lease_shared_min_s = 1, lease_shared_max_s = 60, lease_slack_s = 60;
inline constexpr std::size_t lease_keys_max = 1000;  // as kube-apiserver: etcd removes all of them in one step
inline constexpr std::size_t lease_kinds_max = 64;   // times to live that are remembered
// How long a fence stands after its server is gone: nothing of it is on its way any more.
inline constexpr std::uint32_t fence_kept_s = 7 * 24 * 3600;

// After a loss the next revision is this much above all that was seen: a minute, in which a server notes what it has
// seen, of 300 writes a second. It can't be a million as elsewhere, because etcd counts up by writing only.
inline constexpr std::uint64_t revision_jump = 20'000;
// As many revisions as can be written in some minutes; more is a matter of etcd's own tools.
inline constexpr std::uint64_t jump_max = 1'000'000;

}  // namespace kedge::datastore::etcd
