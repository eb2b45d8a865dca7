#include "api/admission/webhook/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace kedge::api::webhook {
namespace {

constexpr double bounds[] = {0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25};
constexpr int code_max = 600;  // what is above is counted as that, so that there are not too many series

std::string_view error_type(outcome::kind what) {
  switch (what) {
    case outcome::kind::call_failed: return "calling_webhook_error";
    case outcome::kind::server_failed: return "apiserver_internal_error";
    default: return "no_error";
  }
}

}  // namespace

void hook_metrics::observe(const hook& h, operation what, const outcome& o, duration took) {
  const std::string_view type = h.mutates ? "admit" : "validating", op = operation_text(what);
  const bool rejected = o.what != outcome::kind::admitted && !o.passed;
  const auto code = std::min(o.what == outcome::kind::server_failed ? 0 : o.code, code_max);
  all_.observations("apiserver_admission_webhook_admission_duration_seconds",
                    "Admission webhook latency histogram in seconds, identified by name and broken out for each "
                    "operation and API resource and type (validate or admit).",
                    fmt::format("name=\"{}\",operation=\"{}\",rejected=\"{}\",type=\"{}\"", h.name, op, rejected, type),
                    bounds)
      .observe(std::chrono::duration<double>(took).count());
  all_.counter("apiserver_admission_webhook_request_total",
               "Admission webhook request total, identified by name and broken out for each admission type (validating "
               "or admit) and operation. Additional labels specify whether the request was rejected or not and an HTTP "
               "status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
               fmt::format("code=\"{}\",name=\"{}\",operation=\"{}\",rejected=\"{}\",type=\"{}\"", code, h.name, op,
                           rejected, type))
      .add();
  if (rejected)
    all_.counter("apiserver_admission_webhook_rejection_count",
                 "Admission webhook rejection count, identified by name and broken out for each admission type "
                 "(validating or admit) and operation. Additional labels specify an error type (calling_webhook_error "
                 "or apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero "
                 "rejection code if the webhook rejects the request with an HTTP status code (honored by the apiserver "
                 "when the code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the "
                 "metrics cardinality bounded.",
                 fmt::format("error_type=\"{}\",name=\"{}\",operation=\"{}\",rejection_code=\"{}\",type=\"{}\"",
                             error_type(o.what), h.name, op, code, type))
        .add();
  if (o.passed)
    all_.counter("apiserver_admission_webhook_fail_open_count",
                 "Admission webhook fail open count, identified by name and broken out for each admission type "
                 "(validating or admit).",
                 fmt::format("name=\"{}\",type=\"{}\"", h.name, type))
        .add();
}

void hook_metrics::observe_conditions(const hook& h, operation what, bool held, bool failed) {
  const auto labels = fmt::format("kind=\"webhook\",name=\"{}\",operation=\"{}\",type=\"{}\"", h.name,
                                  operation_text(what), h.mutates ? "admit" : "validating");
  if (failed)
    all_.counter("apiserver_admission_match_condition_evaluation_errors_total",
                 "Admission match condition evaluation errors count, identified by name of resource containing the "
                 "match condition and broken out for each kind containing matchConditions (webhook or policy), "
                 "operation and admission type (validate or admit).",
                 labels)
        .add();
  if (!held)
    all_.counter("apiserver_admission_match_condition_exclusions_total",
                 "Admission match condition evaluation exclusions count, identified by name of resource containing the "
                 "match condition and broken out for each kind containing matchConditions (webhook or policy), "
                 "operation and admission type (validate or admit).",
                 labels)
        .add();
}

}  // namespace kedge::api::webhook
