// sync.h: what coroutines of one core use to wait for each other. None of it may be touched from another thread;
// between cores see cores.h. Ending any of these while somebody waits in it is a bug of the owner, except where it says
// otherwise.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "reactor/loop.h"

namespace kedge::reactor {

// A flag to wait for. set() lets every waiter through, now and later, until reset().
class event {
 public:
  bool is_set() const noexcept { return set_; }
  void set() noexcept {
    set_ = true;
    while (!waiting_.empty()) loop::current().schedule(waiting_.front());
  }
  void reset() noexcept { set_ = false; }
  // Wakes who waits now, without staying set.
  void pulse() noexcept {
    while (!waiting_.empty()) loop::current().schedule(waiting_.front());
  }

  struct wait_awaiter : waiter {
    event& owner;
    explicit wait_awaiter(event& e) noexcept : owner(e) {}
    bool await_ready() const noexcept { return owner.set_; }
    void await_suspend(std::coroutine_handle<> h) noexcept {
      handle = h;
      owner.waiting_.push_back(*this);
    }
    void await_resume() const noexcept {}
  };
  wait_awaiter wait() noexcept { return wait_awaiter(*this); }

  // true when set (or pulsed) before `deadline`.
  struct timed_awaiter : wait_awaiter, timer {
    time_point deadline;
    bool late = false;
    timed_awaiter(event& e, time_point d) : wait_awaiter(e), timer(loop::current()), deadline(d) {}
    void await_suspend(std::coroutine_handle<> h) {
      wait_awaiter::await_suspend(h);
      if (deadline != time_point::max()) arm(deadline);
    }
    bool await_resume() noexcept {
      disarm();
      return !late;
    }
    void fired() override {
      // Set in this same turn: it is in the ready queue already, and in time.
      if (owner.set_) return;
      late = true;
      loop::current().schedule(*this);
    }
  };
  timed_awaiter wait_until(time_point deadline) { return timed_awaiter(*this, deadline); }

 private:
  list<waiter> waiting_;
  bool set_ = false;
};

// Counts units of something bounded; waiters are served in order.
class semaphore {
 public:
  explicit semaphore(std::size_t units) noexcept : units_(units) {}
  std::size_t available() const noexcept { return units_; }
  bool try_acquire(std::size_t n = 1) noexcept {
    if (!waiting_.empty() || units_ < n) return false;
    units_ -= n;
    return true;
  }
  void release(std::size_t n = 1) noexcept {
    units_ += n;
    wake();
  }
  struct acquire_awaiter : waiter {
    semaphore& owner;
    std::size_t wanted;
    bool granted = false;
    acquire_awaiter(semaphore& s, std::size_t n) noexcept : owner(s), wanted(n) {}
    ~acquire_awaiter() {
      if (granted && linked()) owner.release(wanted);  // granted, but dropped before it ran: the next may go
    }
    bool await_ready() noexcept { return owner.try_acquire(wanted); }
    void await_suspend(std::coroutine_handle<> h) noexcept {
      handle = h;
      owner.waiting_.push_back(*this);
    }
    void await_resume() noexcept { granted = false; }
  };
  acquire_awaiter acquire(std::size_t n = 1) noexcept { return {*this, n}; }

 private:
  void wake() noexcept {
    while (!waiting_.empty()) {
      auto& first = static_cast<acquire_awaiter&>(waiting_.front());
      if (units_ < first.wanted) return;
      units_ -= first.wanted;
      first.granted = true;
      loop::current().schedule(first);
    }
  }
  list<waiter> waiting_;
  std::size_t units_;
};

// A bounded queue between coroutines of one core: send waits while it is full, receive while it is empty.
template <typename T>
class channel {
 public:
  explicit channel(std::size_t capacity) : capacity_(capacity) {}

  std::size_t size() const noexcept { return items_.size(); }
  bool full() const noexcept { return items_.size() >= capacity_; }
  bool closed() const noexcept { return closed_; }

  // false when full or closed; the item is then left where it was.
  bool try_send(T&& item) {
    if (full() || closed_) return false;
    items_.push_back(std::move(item));
    changed_.pulse();
    return true;
  }
  // false when the channel was closed.
  task<bool> send(T item) {
    while (full() && !closed_) co_await changed_.wait();
    co_return try_send(std::move(item));
  }
  std::optional<T> try_receive() {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    changed_.pulse();
    return item;
  }
  // nullopt when closed and drained.
  task<std::optional<T>> receive() {
    while (items_.empty() && !closed_) co_await changed_.wait();
    co_return try_receive();
  }
  // What was sent before can still be received.
  void close() noexcept {
    closed_ = true;
    changed_.pulse();
  }

 private:
  std::deque<T> items_;
  std::size_t capacity_;
  event changed_;
  bool closed_ = false;
};

namespace detail {

template <typename T>
task<void> into(task<T> work, std::optional<T>& out, event& done) {
  out.emplace(co_await work);
  done.set();
}
// Run `work`, which sets `done`, until that is set, or until `deadline` (then false) or `stop`; then it is dropped.
task<bool> done_before(task<void> work, event& done, time_point deadline);
task<void> done_or_set(task<void> work, event& done, event& stop);

}  // namespace detail

// `work`, unless `deadline` comes first: then it is dropped and the answer is errc::timeout.
template <typename T>
task<result<T>> with_deadline(task<result<T>> work, time_point deadline) {
  std::optional<result<T>> out;
  event done;
  if (!co_await detail::done_before(detail::into(std::move(work), out, done), done, deadline))
    co_return fail(errc::timeout, "the deadline passed");
  co_return std::move(*out);
}

// `work`, unless `stop` is set first: then it is dropped and the answer is errc::cancelled.
template <typename T>
task<result<T>> with_stop(task<result<T>> work, event& stop) {
  std::optional<result<T>> out;
  event done;
  co_await detail::done_or_set(detail::into(std::move(work), out, done), done, stop);
  if (!out) co_return fail(errc::cancelled, "stopped");
  co_return std::move(*out);
}

}  // namespace kedge::reactor
