// backends.h: the audit of a server: its policy, and who is told.
//
//   any core ── evaluate ─▶ level of the request ── process(stage) ─▶ one text for each backend ─▶ log, webhook
#pragma once

#include <memory>
#include <vector>

#include "api/audit/backend.h"
#include "api/audit/sink.h"
#include "api/metrics/metrics.h"

namespace kedge::api {

class audit_backends final : public audit_sink {
 public:
  // Counts under kube-apiserver's names in `measures`, which outlives this.
  audit_backends(audit_policy policy, std::vector<std::shared_ptr<audit_backend>> to, metrics& measures);

  audit_verdict evaluate(const attributes& asked) noexcept override;
  task<bool> process(const audit_event& e, audit_stage stage, wall_time at) override;
  void post(const audit_event& e, audit_stage stage, wall_time at) override;

 private:
  const audit_policy policy_;
  const std::vector<std::shared_ptr<audit_backend>> to_;
  metric_cell& events_;
  metric_cell& rejected_;
  std::vector<metric_cell*> levels_;
};

}  // namespace kedge::api
