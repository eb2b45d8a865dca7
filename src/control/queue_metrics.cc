#include "control/queue_metrics.h"

#include <fmt/format.h>

namespace kedge::control {
namespace {

constexpr double bounds[] = {1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10};

double seconds(duration d) { return std::chrono::duration<double>(d).count(); }
std::string label(const std::string& name) { return fmt::format("name=\"{}\"", name); }

}  // namespace

queue_metrics::queue_metrics(api::metrics& all, std::shared_ptr<work_in_progress> board, const std::string& name)
    : name_(name),
      board_(std::move(board)),
      adds_(all.counter("workqueue_adds_total", "Total number of adds handled by workqueue", label(name))),
      depth_(all.gauge("workqueue_depth", "Current depth of workqueue", label(name))),
      retries_(all.counter("workqueue_retries_total", "Total number of retries handled by workqueue", label(name))),
      waited_(all.observations("workqueue_queue_duration_seconds",
                               "How long in seconds an item stays in workqueue before being requested.", label(name),
                               bounds)),
      worked_(all.observations("workqueue_work_duration_seconds",
                               "How long in seconds processing an item from workqueue takes.", label(name), bounds)) {
  depth_.set(0);
  board_->join(name_);
}

void queue_metrics::added(std::size_t waiting) {
  adds_.add();
  depth_.set(static_cast<std::int64_t>(waiting));
}

void queue_metrics::taken(duration waited, std::size_t waiting, time_point now) {
  waited_.observe(seconds(waited));
  depth_.set(static_cast<std::int64_t>(waiting));
  board_->begins(name_, now);
}

void queue_metrics::worked(time_point since, time_point now) {
  worked_.observe(seconds(now - since));
  board_->ends(name_, since);
}

}  // namespace kedge::control
