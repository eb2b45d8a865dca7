// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>

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

// kube-apiserver's: answers of an authorization webhook that are remembered, and how long a question may be for that.
inline constexpr std::size_t webhook_answers_max = 8'192, webhook_question_max_bytes = 10'000;
// Of a reason that it gives, which goes into refusals and audit events.
inline constexpr std::size_t webhook_reason_max_bytes = 4'096;
// How often one request puts a question again whose answers are not remembered: once for each webhook in the
// configuration is enough, unless others use them up meanwhile.
inline constexpr int open_questions_max = 64;

// kube-apiserver's: matchConditions of one webhook.
inline constexpr std::size_t match_conditions_max = 64;

}  // namespace kedge::api
