// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::api::tracing {

// OpenTelemetry's batch span processor, which kube-apiserver takes with its defaults: spans that wait, spans of one
// batch, how long one waits to be full, and how long sending may take.
inline constexpr std::size_t queue_spans_max = 2048, batch_spans_max = 512;
inline constexpr std::chrono::seconds batch_wait{5}, export_time{30};
// At the end of the process, for what still waits: a collector that is away holds nobody up.
inline constexpr std::chrono::seconds last_batches_time{2};
// OpenTelemetry's, of one span.
inline constexpr std::size_t events_max = 128;
// Text of one attribute: URLs and user agents are the client's own words. With the queue's bound that is 30 MiB for a
// client that means harm, of which few are sampled.
inline constexpr std::size_t text_max_bytes = 2048;
// What the W3C asks for at least of a tracestate; a longer one is left out.
inline constexpr std::size_t state_max_bytes = 512;
// A collector answers with a few bytes.
inline constexpr std::size_t answer_max_bytes = 64 * 1024;

}  // namespace kedge::api::tracing
