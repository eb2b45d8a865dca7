#include "reactor/loop.h"

#include "reactor/limits.h"

namespace kedge::reactor {

namespace {
thread_local loop* current_loop = nullptr;
}

void timer::arm(time_point when) {
  auto& heap = owner_.timers_;
  when_ = when;
  if (position_ == unarmed) {
    position_ = heap.size();
    heap.push_back(this);
    owner_.sift_up(position_);
  } else {
    owner_.sift_up(position_);
    owner_.sift_down(position_);
  }
}

void timer::disarm() noexcept {
  if (position_ == unarmed) return;
  auto& heap = owner_.timers_;
  auto at = std::exchange(position_, unarmed);
  auto* last = heap.back();
  heap.pop_back();
  if (last == this) return;
  heap[at] = last;
  last->position_ = at;
  owner_.sift_up(at);
  owner_.sift_down(last->position_);
}

loop::loop(std::unique_ptr<backend> b)
    : backend_(std::move(b)),
      now_(backend_->now()),
      real_(backend_->is_real()),
      mail_(std::make_shared<mailbox>([at = backend_.get()] { at->wake(); })) {}

loop::~loop() {
  current_guard guard(*this);
  mail_->close();
  messages_.clear();
  next_message_ = 0;
  root_.cancel();
}

loop& loop::current() noexcept {
  kedge_assert(current_loop);
  return *current_loop;
}
loop* loop::try_current() noexcept { return current_loop; }

loop::current_guard::current_guard(loop& l) noexcept : before_(current_loop) { current_loop = &l; }
loop::current_guard::~current_guard() { current_loop = before_; }

void loop::stop() noexcept {
  stopping_.store(true, std::memory_order_release);
  backend_->wake();
}

void loop::run() {
  current_guard guard(*this);
  while (!stopping_.load(std::memory_order_acquire)) turn(time_point::max());
  root_.cancel();
}

time_point loop::next_timer() const noexcept { return timers_.empty() ? time_point::max() : timers_.front()->when_; }

void loop::turn(time_point until) {
  if (!real_) now_ = backend_->now();  // a world's time goes on between turns
  run_mailbox();
  run_ready();
  turns_.end_turn();
  if (has_work())
    until = time_point{};  // long past: only look
  else
    until = std::min(until, next_timer());
  backend_->wait(until);
  now_ = backend_->now();
  turns_.begin_turn();
  run_timers();
  run_ready();
}

void loop::run_ready() {
  // Only what is ready now, up to a bound and for a time: those that these make ready come after the sockets have been
  // looked at.
  list<waiter> batch;
  batch.splice(ready_);
  std::size_t n = 0;
  while (!batch.empty()) {
    auto& w = batch.pop_front();
    __builtin_prefetch(&batch.front());  // an event to a thousand watchers finds none of them in the cache
    const auto* of = w.of;
    activity::running_ = of;
    w.handle.resume();
    if (turn_is_over(of) || ++n == events_per_turn_max) break;
  }
  activity::running_ = nullptr;
  if (!batch.empty()) {
    batch.splice(ready_);
    ready_.splice(batch);
  }
}

void loop::run_timers() {
  std::size_t n = 0;
  while (!timers_.empty() && timers_.front()->when_ <= now_ && n++ < events_per_turn_max) {
    auto* t = timers_.front();
    t->disarm();
    t->fired();
  }
  turn_is_over(nullptr);
}

void loop::run_mailbox() {
  if (next_message_ == messages_.size()) {
    messages_ = mail_->take();
    next_message_ = 0;
  }
  while (next_message_ < messages_.size()) {
    std::exchange(messages_[next_message_++], nullptr)();
    activity::running_ = nullptr;
    if (turn_is_over(nullptr)) break;
  }
}

void loop::sift_up(std::size_t i) noexcept {
  while (i > 0) {
    auto parent = (i - 1) / 2;
    if (timers_[parent]->when_ <= timers_[i]->when_) break;
    std::swap(timers_[parent], timers_[i]);
    timers_[parent]->position_ = parent;
    timers_[i]->position_ = i;
    i = parent;
  }
}

void loop::sift_down(std::size_t i) noexcept {
  for (;;) {
    auto least = i;
    for (auto c = 2 * i + 1; c <= 2 * i + 2 && c < timers_.size(); ++c)
      if (timers_[c]->when_ < timers_[least]->when_) least = c;
    if (least == i) return;
    std::swap(timers_[least], timers_[i]);
    timers_[least]->position_ = least;
    timers_[i]->position_ = i;
    i = least;
  }
}

}  // namespace kedge::reactor
