#include "api/audit/backends.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace kedge::api {

audit_backends::audit_backends(audit_policy policy, std::vector<std::shared_ptr<audit_backend>> to, metrics& measures)
    : policy_(std::move(policy)),
      to_(std::move(to)),
      events_(measures.counter("apiserver_audit_event_total",
                               "Counter of audit events generated and sent to the audit backend.", "")),
      rejected_(measures.counter("apiserver_audit_requests_rejected_total",
                                 "Counter of apiserver requests rejected due to an error in audit logging backend.",
                                 "")) {
  for (auto level : {audit_level::none, audit_level::metadata, audit_level::request, audit_level::request_response})
    levels_.push_back(&measures.counter("apiserver_audit_level_total",
                                        "Counter of policy levels for audit events (1 per request).",
                                        fmt::format("level=\"{}\"", name_of(level))));
  measures.collect([to = to_](std::string& out) {
    out +=
        "# HELP apiserver_audit_error_total Counter of audit events that failed to be audited properly. Plugin "
        "identifies the plugin affected by the error.\n# TYPE apiserver_audit_error_total counter\n";
    for (auto& b : to)
      out += fmt::format("apiserver_audit_error_total{{plugin=\"{}\"}} {}\n", b->name(), b->lost_events());
  });
}

audit_verdict audit_backends::evaluate(const attributes& asked) noexcept {
  auto verdict = policy_.evaluate(asked);
  levels_[static_cast<std::size_t>(verdict.level)]->add();
  return verdict;
}

task<bool> audit_backends::process(const audit_event& e, audit_stage stage, wall_time at) {
  if (e.verdict.omits(stage)) co_return true;
  events_.add();
  // First those that nobody waits for: a request may be dropped while it waits for the others.
  std::vector<std::pair<audit_backend*, std::string>> awaited;
  for (auto& b : to_) {
    auto text = b->text_of(e, stage, at);
    if (text.empty())
      b->lost();
    else if (b->mode() == audit_mode::batch)
      b->post(std::move(text));
    else
      awaited.emplace_back(b.get(), std::move(text));
  }
  bool strictly_taken = true;
  for (auto& [b, text] : awaited)
    if (!co_await b->write(std::move(text)))
      strictly_taken = strictly_taken && b->mode() != audit_mode::blocking_strict;
  if (!strictly_taken && stage == audit_stage::request_received) rejected_.add();
  co_return strictly_taken;
}

void audit_backends::post(const audit_event& e, audit_stage stage, wall_time at) {
  if (e.verdict.omits(stage)) return;
  events_.add();
  for (auto& b : to_) {
    auto text = b->text_of(e, stage, at);
    if (text.empty())
      b->lost();
    else
      b->post(std::move(text));
  }
}

}  // namespace kedge::api
