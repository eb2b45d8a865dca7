// context.h: which trace a request is of, as the W3C's headers carry it from server to server: traceparent, tracestate.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "base/random.h"

namespace kedge::api::tracing {

using trace_id = std::array<unsigned char, 16>;
using span_id = std::array<unsigned char, 8>;

struct context {
  trace_id trace{};
  span_id span{};
  bool sampled = false;
  std::string state;  // tracestate, as it came
};

// Nothing for a text that isn't one: then the request begins a trace of its own.
std::optional<context> parse_traceparent(std::string_view text);
std::string traceparent(const context& c);

// Of an id, never zero.
trace_id new_trace_id(random_source& random);
span_id new_span_id(random_source& random);

// Whether a new trace is one of `per_million`, as all tell by its id alone.
bool is_chosen(const trace_id& id, std::uint32_t per_million) noexcept;

}  // namespace kedge::api::tracing
