// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::api {

// Text of audit events that wait for one backend. In batch mode what comes beyond that is dropped and counted, like
// what comes beyond the number of events that the flags set; otherwise requests wait.
inline constexpr std::size_t audit_queue_max_bytes = 64 * 1024 * 1024;
// Bytes handed to one write: bounds the memory of a turn of the writer.
inline constexpr std::size_t audit_batch_max_bytes = 1024 * 1024;
// How long a request that waits for the log looks away when the pool is full, or the log is.
inline constexpr std::chrono::milliseconds audit_look_again{5};
// An object's text in an event. kube-apiserver has no bound but the object's own; what lists of a whole cluster weigh
// would be kept three times over. What is larger is left out, and the event says that it is truncated.
inline constexpr std::size_t audit_object_max_bytes = 16 * 1024 * 1024;
// kube-apiserver's: of a user agent's text.
inline constexpr std::size_t audit_user_agent_max_bytes = 1024;
// Addresses of proxies that are told: headers are the client's own words.
inline constexpr std::size_t audit_sources_max = 32;

// --- the webhook
// Batches that are on their way at once. kube-apiserver starts ten a second and lets each try for a minute and a half;
// what waits here instead stays in the queue, which is bounded.
inline constexpr std::size_t audit_batches_at_once = 16;
// kube-apiserver's: how long one attempt may take, how often a batch is sent again, and how the pause grows.
inline constexpr std::chrono::seconds audit_attempt_time{30};
inline constexpr int audit_attempts = 5;
inline constexpr double audit_backoff_factor = 1.5, audit_backoff_jitter = 0.2;
// At the end of the process: how long what still waits may take to be sent. What isn't through then is counted and
// told.
inline constexpr std::chrono::seconds audit_last_batches_time{10};

}  // namespace kedge::api
