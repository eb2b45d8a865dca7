// queue_metrics.h: what /metrics tells of a controller's work queue, under client-go's names.
#pragma once

#include <string>

#include "api/metrics/metrics.h"
#include "base/time.h"
#include "control/work_in_progress.h"

namespace kedge::control {

class queue_metrics {
 public:
  queue_metrics(api::metrics& all, std::shared_ptr<work_in_progress> board, const std::string& name);

  void added(std::size_t waiting);
  void taken(duration waited, std::size_t waiting, time_point now);
  void worked(time_point since, time_point now);
  void retried() { retries_.add(); }

 private:
  const std::string name_;
  const std::shared_ptr<work_in_progress> board_;
  api::metric_cell &adds_, &depth_, &retries_;
  api::histogram &waited_, &worked_;
};

}  // namespace kedge::control
