#include "control/work_in_progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "reactor/loop.h"

namespace kedge::control {
namespace {

double seconds(duration d) { return std::chrono::duration<double>(std::max(d, duration{})).count(); }

}  // namespace

std::shared_ptr<work_in_progress> work_in_progress::told_by(api::metrics& all) {
  auto out = std::make_shared<work_in_progress>();
  all.collect([told = std::weak_ptr(out)](std::string& text) {
    if (auto work = told.lock()) text += work->text(reactor::loop::current().now());
  });
  return out;
}

void work_in_progress::join(const std::string& queue) {
  std::scoped_lock lock(mutex_);
  begun_[queue].clear();
}

void work_in_progress::begins(const std::string& queue, time_point at) {
  std::scoped_lock lock(mutex_);
  begun_[queue].push_back(at);
}

void work_in_progress::ends(const std::string& queue, time_point begun) {
  std::scoped_lock lock(mutex_);
  auto& all = begun_[queue];
  if (auto it = std::ranges::find(all, begun); it != all.end()) all.erase(it);
}

std::string work_in_progress::text(time_point now) const {
  std::string unfinished =
                  "# HELP workqueue_unfinished_work_seconds How many seconds of work has done that is in progress and "
                  "hasn't been observed by work_duration. Large values indicate stuck threads. One can deduce the "
                  "number of stuck threads by observing the rate at which this increases.\n"
                  "# TYPE workqueue_unfinished_work_seconds gauge\n",
              longest =
                  "# HELP workqueue_longest_running_processor_seconds How many seconds has the longest running "
                  "processor for workqueue been running.\n"
                  "# TYPE workqueue_longest_running_processor_seconds gauge\n";
  std::scoped_lock lock(mutex_);
  for (auto& [queue, all] : begun_) {
    double sum = 0, most = 0;
    for (auto begun : all) {
      sum += seconds(now - begun);
      most = std::max(most, seconds(now - begun));
    }
    unfinished += fmt::format("workqueue_unfinished_work_seconds{{name=\"{}\"}} {}\n", queue, sum);
    longest += fmt::format("workqueue_longest_running_processor_seconds{{name=\"{}\"}} {}\n", queue, most);
  }
  return unfinished + longest;
}

}  // namespace kedge::control
