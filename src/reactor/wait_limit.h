// wait_limit.h: a deadline for one wait after another.
//
//   wait_limit limit;                                               // in the frame of who waits again and again
//   for (;;) auto r = co_await limit.until(when, source.next());    // what next() gives, or errc::timeout
//
// What with_deadline does, for those who are many and wait long: without frames of its own, and without a change of the
// loop's timers when the deadline moves later. The timer looks again when it fires.
#pragma once

#include <utility>

#include "reactor/loop.h"

namespace kedge::reactor {

class wait_limit final : timer {
 public:
  wait_limit() : timer(loop::current()) {}

  template <typename T>
  class awaiter : waiter {
   public:
    awaiter(wait_limit& l, time_point when, task<result<T>> work) noexcept
        : limit_(l), when_(when), work_(std::move(work)) {}
    ~awaiter() {
      if (limit_.waiting_ == this) limit_.waiting_ = nullptr;
    }
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) {
      handle = h;
      limit_.begin(*this, when_);
      return (work_.operator co_await()).await_suspend(h);
    }
    result<T> await_resume() {
      unlink();  // the deadline may have come as well
      limit_.waiting_ = nullptr;
      auto done = work_.operator co_await();
      if (done.handle.done()) return done.await_resume();
      work_.drop();
      return fail(errc::timeout, "the deadline passed");
    }

   private:
    wait_limit& limit_;
    time_point when_;
    task<result<T>> work_;
  };
  // One wait at a time. `work` is dropped when the deadline comes first.
  template <typename T>
  awaiter<T> until(time_point when, task<result<T>> work) noexcept {
    return {*this, when, std::move(work)};
  }

 private:
  void begin(waiter& w, time_point when) {
    kedge_assert(!waiting_);
    waiting_ = &w;
    when_ = when;
    if (when != time_point::max() && (!armed() || when < armed_for_)) arm(armed_for_ = when);
  }
  void fired() override {
    if (!waiting_ || when_ == time_point::max()) return;
    if (when_ > loop::current().now()) return arm(armed_for_ = when_);
    loop::current().schedule(*waiting_);
  }

  waiter* waiting_ = nullptr;
  time_point when_{}, armed_for_{};
};

}  // namespace kedge::reactor
