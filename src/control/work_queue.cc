#include "control/work_queue.h"

#include <algorithm>

#include "control/limits.h"

namespace kedge::control {

void work_queue::add(const std::string& key) {
  if (auto it = later_.find(key); it != later_.end()) {
    due_.erase(it->second);
    later_.erase(it);
  }
  if (working_.contains(key)) {
    again_.insert(key);
    return;
  }
  if (!waiting_.insert(key).second) return;
  ready_.push_back({key, reactor::loop::current().now()});
  if (measures_) measures_->added(ready_.size());
  changed_.pulse();
}

void work_queue::add_at(const std::string& key, time_point when) {
  if (when <= reactor::loop::current().now()) return add(key);
  if (waiting_.contains(key)) return;
  if (auto it = later_.find(key); it != later_.end()) {
    if (it->second->first <= when) return;
    due_.erase(it->second);
    it->second = due_.emplace(when, key);
  } else {
    later_.emplace(key, due_.emplace(when, key));
  }
  arm();
}

void work_queue::arm() {
  if (!alarm_) alarm_ = std::make_unique<alarm>(*this);
  if (!due_.empty()) alarm_->arm(due_.begin()->first);
}

void work_queue::wake_due() {
  auto now = reactor::loop::current().now();
  while (!due_.empty() && due_.begin()->first <= now) {
    auto key = due_.begin()->second;
    add(key);  // takes it out of due_
  }
  arm();
}

std::optional<std::string> work_queue::take() {
  if (ready_.empty()) return std::nullopt;
  auto [key, since] = std::move(ready_.front());
  ready_.pop_front();
  waiting_.erase(key);
  const auto now = reactor::loop::current().now();
  working_.emplace(key, now);
  if (measures_) measures_->taken(now - since, ready_.size(), now);
  return key;
}

task<std::string> work_queue::next() {
  for (;;) {
    if (auto key = take()) co_return *std::move(key);
    co_await changed_.wait();
  }
}

void work_queue::ended(const std::string& key) {
  auto it = working_.find(key);
  if (it == working_.end()) return;
  if (measures_) measures_->worked(it->second, reactor::loop::current().now());
  working_.erase(it);
}

void work_queue::done(const std::string& key) {
  failures_.erase(key);
  ended(key);
  if (again_.erase(key)) add(key);
}

void work_queue::retry(const std::string& key, duration least) {
  auto& n = failures_[key];
  auto wait =
      std::max<duration>(least, std::min(backoff_first * (1u << std::min(n, backoff_doublings_max)), backoff_most));
  ++n;
  ended(key);
  if (measures_) measures_->retried();
  // What was named meanwhile is looked at soon, but a key that fails again and again gets no hotter by its own events.
  if (again_.erase(key) && least == duration{})
    add(key);
  else
    add_after(key, wait);
}

}  // namespace kedge::control
