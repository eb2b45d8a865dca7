// metrics.h: what /metrics tells of webhooks, under kube-apiserver's names.
#pragma once

#include <string_view>

#include "api/admission/webhook/hook.h"
#include "api/metrics/metrics.h"

namespace kedge::api::webhook {

// How a call ended.
struct outcome {
  enum class kind : unsigned char { admitted, rejected, call_failed, server_failed } what = kind::admitted;
  bool passed = false;  // it failed, and the request may go on all the same
  int code = 200;
};

class hook_metrics {
 public:
  explicit hook_metrics(metrics& all) : all_(all) {}
  void observe(const hook& h, operation what, const outcome& o, duration took);
  void observe_conditions(const hook& h, operation what, bool held, bool failed);

 private:
  metrics& all_;
};

}  // namespace kedge::api::webhook
