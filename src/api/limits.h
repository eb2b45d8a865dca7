// limits.h: the bounds of a request as a whole, and of what a server brings, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::api {

// kube-apiserver's limit on a request body; the 413 message names it.
inline constexpr std::size_t body_max_bytes = 3 * 1024 * 1024;

// kube-apiserver's default deadline of a request that is not long-running; `timeout=` may only shorten it.
inline constexpr std::chrono::seconds request_timeout{60};

// How many bootstrap objects are written at once: they share commits.
inline constexpr std::size_t bootstrap_batch = 64;
// How long a server waits for what another one is about to create; it is in the same commit, or the next.
inline constexpr std::chrono::seconds others_create_time{5};

// Questions to webhooks that one request may cost which acts as somebody else: one for each group and each word of
// extra that it names. Who names more is refused.
inline constexpr std::size_t impersonation_questions_max = 256;

}  // namespace kedge::api
