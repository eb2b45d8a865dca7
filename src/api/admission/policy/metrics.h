// metrics.h: what /metrics tells of admission policies, under kube-apiserver's names. One object a core.
#pragma once

#include <string_view>

#include "api/metrics/metrics.h"
#include "base/time.h"

namespace kedge::api::policy {

class policy_metrics {
 public:
  explicit policy_metrics(metrics* all) : all_(all) {}  // null: nobody counts

  // One expression of a validating policy, and what came of it: allow, deny, audit, warn. `error`: its text, when it
  // could not be evaluated.
  void validated(std::string_view policy, std::string_view binding, std::string_view error, std::string_view action,
                 duration took);
  // One run of a mutating policy.
  void mutated(std::string_view policy, std::string_view binding, std::string_view error, duration took);

 private:
  metrics* all_;
};

}  // namespace kedge::api::policy
