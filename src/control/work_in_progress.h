// work_in_progress.h: since when the workers of all queues are at what they do now, for /metrics: a worker that is
// stuck tells of itself by no histogram, which has what is over.
//
// Told from the controllers' loop, asked for on any core. As long as its owner lives; a scrape after that finds
// nothing.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/metrics/metrics.h"
#include "base/time.h"

namespace kedge::control {

class work_in_progress {
 public:
  // Told by `all` while it lives.
  static std::shared_ptr<work_in_progress> told_by(api::metrics& all);

  void join(const std::string& queue);
  void begins(const std::string& queue, time_point at);
  void ends(const std::string& queue, time_point begun);

 private:
  std::string text(time_point now) const;

  mutable std::mutex mutex_;  // held for a look at the few workers of each queue
  std::map<std::string, std::vector<time_point>> begun_;
};

}  // namespace kedge::control
