// queue_metrics.h: what /metrics tells of a controller's work queue, under client-go's names.
#pragma once

#include <string>

#include "api/metrics/metrics.h"
#include "base/time.h"

namespace kedge::control {

class queue_metrics {
 public:
  queue_metrics(api::metrics& all, const std::string& name);

  void added(std::size_t waiting);
  void taken(duration waited, std::size_t waiting);
  void worked(duration took);
  void retried() { retries_.add(); }

 private:
  api::metric_cell &adds_, &depth_, &retries_;
  api::histogram &waited_, &worked_;
};

}  // namespace kedge::control
