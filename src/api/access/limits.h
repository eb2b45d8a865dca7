// limits.h: the bounds of this folder.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::api {

// Remembered authorization decisions of one core. A client repeats few different questions; a cluster of 1,000 clients
// asks some 10,000. At about 300 bytes each this stays below 3 MiB; the whole set is dropped when it is full.
inline constexpr std::size_t decisions_kept_max = 8'192;
// A longer question is answered and forgotten: self reviews ask about any text, of megabytes. Names and paths are
// shorter.
inline constexpr std::size_t decision_key_max_bytes = 1'024;

// How old the view of the RBAC objects may be for an allowed request, when the cluster changes all the time. The real
// server's informers lag by more. A refusal always looks at the newest objects first.
inline constexpr std::chrono::milliseconds rbac_staleness_max{2};

// Checking a role for escalation multiplies verbs, groups and resources: a hostile role of a few kilobytes could name
// billions of permissions. What lies beyond counts as not held. Messages name at most so many missing ones.
inline constexpr std::size_t permissions_checked_max = 20'000;
// … nor may they be compared with more rules that are held than this: 20 ms.
inline constexpr std::size_t permissions_compared_max = 2'000'000;
inline constexpr std::size_t permissions_missing_max = 1'000;

// Pods whose references the node authorizer remembers: what the nodes of a core's connections are asked about, some 300
// bytes each. The whole set is dropped when it is full.
inline constexpr std::size_t pod_references_kept_max = 16'384;

// Verified service account tokens that one core remembers (signature checks are the expensive part; bound objects are
// looked up again each time). Every pod has one token.
inline constexpr std::size_t verified_tokens_max = 4'096;

// How long a connection's bearer token counts as checked while the cluster stays as it is: its times are in whole
// seconds.
inline constexpr std::chrono::seconds token_recheck{1};

// A bearer token longer than this is refused before anything is computed. The real ones are below 2 KiB.
inline constexpr std::size_t bearer_token_max_bytes = 16 * 1024;

// TokenRequest: the least and greatest validity that a client may ask for (kube-apiserver's numbers).
inline constexpr std::int64_t token_seconds_min = 600;
inline constexpr std::int64_t token_seconds_max = std::int64_t{1} << 32;
inline constexpr std::int64_t token_seconds_default = 3'600;
// A token asked for with exactly this validity, for the API itself and bound to a pod, is one that the ServiceAccount
// admission plugin put there: it is issued for a year, so that clients that never reread it survive; `warnafter` tells.
inline constexpr std::int64_t token_seconds_injected = 3'607;
inline constexpr std::int64_t token_seconds_extended = 365 * 24 * 3'600;

// A token stays good this long after the object that it is bound to began to be deleted: the pod's last requests.
inline constexpr std::chrono::seconds bound_object_leeway{60};

// Extra fields and groups taken over from front proxy and impersonation headers: hostile headers are already bounded by
// HTTP's limits; this bounds what is kept per user.
inline constexpr std::size_t user_groups_max = 1'024;

// Tries to charge a quota that others charge at the same time (kube-apiserver tries 3 times, with fewer writers).
inline constexpr int quota_charge_tries_max = 8;

// Audit events that wait for the disk: beyond this the newest are dropped and counted; requests never wait for the log.
inline constexpr std::size_t audit_queue_max = 16'384;
// Bytes handed to one write: bounds the memory of a turn of the writer.
inline constexpr std::size_t audit_batch_max_bytes = 1024 * 1024;

}  // namespace kedge::api
