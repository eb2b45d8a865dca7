#include "control/work_queue.h"

namespace kedge::control {

namespace {
constexpr auto backoff_first = std::chrono::milliseconds(5);
constexpr unsigned backoff_doublings_max = 17;  // 5 ms · 2^17 = 11 min
}  // namespace

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
  ready_.push_back(key);
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

task<std::string> work_queue::next() {
  while (ready_.empty()) co_await changed_.wait();
  auto key = std::move(ready_.front());
  ready_.pop_front();
  waiting_.erase(key);
  working_.insert(key);
  co_return key;
}

void work_queue::done(const std::string& key) {
  failures_.erase(key);
  working_.erase(key);
  if (again_.erase(key)) add(key);
}

void work_queue::retry(const std::string& key) {
  auto& n = failures_[key];
  auto wait = backoff_first * (1u << std::min(n, backoff_doublings_max));
  ++n;
  working_.erase(key);
  if (again_.erase(key))
    add(key);
  else
    add_after(key, wait);
}

}  // namespace kedge::control
