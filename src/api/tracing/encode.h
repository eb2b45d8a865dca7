// encode.h: spans as OpenTelemetry's protocol has them (opentelemetry-proto: ExportTraceServiceRequest).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/tracing/span.h"

namespace kedge::api::tracing {

// One request of spans, all of this resource.
std::string export_request(const attributes& resource, const std::vector<span>& spans);

// What a collector refused of a request, and why. Zero: nothing.
struct refusal {
  std::int64_t spans = 0;
  std::string why;
};
refusal read_answer(std::string_view message);

}  // namespace kedge::api::tracing
