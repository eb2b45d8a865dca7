#include "api/metrics/conversion_metrics.h"

#include <fmt/format.h>

#include <array>
#include <chrono>

namespace kedge::api {
namespace {

constexpr std::array request_bounds{0.005, 0.01, 0.02, 0.05, 0.1,  0.2,  0.5, 1.0,
                                    2.0,   5.0,  10.0, 20.0, 30.0, 45.0, 60.0};
constexpr std::array conversion_bounds{0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128,
                                       0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384};

}  // namespace

std::function<void(const custom::conversion_call&)> count_conversions(metrics& all) {
  return [&all](const custom::conversion_call& c) {
    const bool good = c.failure.empty();
    const auto seconds = std::chrono::duration<double>(c.took).count();
    const auto labels = fmt::format(R"(failure_type="{}",result="{}")", c.failure, good ? "success" : "failure");
    all.counter("apiserver_conversion_webhook_request_total",
                "Counter for conversion webhook requests with success/failure and failure error type", labels)
        .add();
    all.observations("apiserver_conversion_webhook_duration_seconds", "Conversion webhook request latency", labels,
                     request_bounds)
        .observe(seconds);
    all.observations("apiserver_crd_conversion_webhook_duration_seconds", "CRD webhook conversion duration in seconds",
                     fmt::format(R"(crd_name="{}",from_version="{}",succeeded="{}",to_version="{}")", c.definition,
                                 c.from, good, c.to),
                     conversion_bounds)
        .observe(seconds);
  };
}

}  // namespace kedge::api
