// loop.h: the shim's one thread: descriptors, timers, children.
//
// A child's exit is never lost and never given to the wrong one: a process stays a zombie, which keeps its pid from
// being used again, until whoever started it has said that it knows the pid (children, below).
#pragma once

#include <signal.h>
#include <time.h>

#include <coroutine>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/descriptor.h"
#include "shim/task.h"

namespace kedge::shim {

// Milliseconds of the monotonic clock.
std::int64_t now_ms() noexcept;
// Never, as a deadline.
inline constexpr std::int64_t no_deadline = INT64_MAX;

// Is told when its descriptor can be read or written. It must be unwatched before it dies.
class watcher {
 public:
  virtual void ready(std::uint32_t events) = 0;  // epoll's

 protected:
  ~watcher() = default;
};

struct exit_state {
  std::uint32_t status = 0;  // as a shell has it: 128 + the signal that killed it
  timespec at{};             // of the wall clock
};

class loop {
 public:
  loop();
  loop(const loop&) = delete;
  loop& operator=(const loop&) = delete;

  // Until stop(); SIGTERM and SIGINT call `on_signal`.
  void run(const std::function<void()>& on_signal);
  void stop() noexcept { stopping_ = true; }

  void watch(int fd, std::uint32_t events, watcher& w);
  void change(int fd, std::uint32_t events, watcher& w);
  void unwatch(int fd, watcher& w);

  // A timer calls once, at `when` of now_ms(); cancel with what set gave.
  std::uint64_t set_timer(std::int64_t when, std::function<void()> call);
  void cancel_timer(std::uint64_t id) noexcept;

  // co_await l.sleep(ms)
  auto sleep(std::int64_t ms) {
    struct awaiter {
      loop& of;
      std::int64_t when;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> h) {
        of.set_timer(when, [h] { h.resume(); });
      }
      void await_resume() const noexcept {}
    };
    return awaiter{*this, now_ms() + ms};
  }

  // `exited` is called once, when the child `pid` (ours, or of a container and left to us) has ended.
  void know(int pid, std::function<void(const exit_state&)> exited);
  // While a claim is held, children that nobody knows are left as zombies: one of them may be what the claim's holder
  // is about to know. Without a claim they are reaped and forgotten.
  class claim {
   public:
    explicit claim(loop& l) : of_(l) { ++of_.claims_; }
    claim(const claim&) = delete;
    claim& operator=(const claim&) = delete;
    ~claim() {
      if (--of_.claims_ == 0) of_.reap_soon_ = true;
    }

   private:
    loop& of_;
  };

 private:
  struct timer {
    std::int64_t when;
    std::uint64_t id;
    std::function<void()> call;
  };
  struct child {
    int pid;
    std::function<void(const exit_state&)> exited;
  };
  void reap();
  void run_timers();
  int wait_ms() const;

  descriptor epoll_, signals_;
  bool stopping_ = false;
  bool reap_soon_ = false;
  unsigned claims_ = 0;
  std::uint64_t next_timer_ = 1;
  std::vector<timer> timers_;  // few; unordered
  std::vector<child> children_;
  std::vector<watcher*> gone_;  // unwatched while their events were being handled
  bool handling_ = false;
};

// Wakes all that wait for it, once. It must outlive them.
class event {
 public:
  bool is_set() const noexcept { return set_; }
  void set() {
    set_ = true;
    for (auto waiting = std::exchange(waiting_, {}); auto* w : waiting) w->wake();
  }

 private:
  struct awaiter {
    event& of;
    loop* on = nullptr;
    std::int64_t deadline = no_deadline;
    std::uint64_t timer = 0;
    std::coroutine_handle<> handle = {};

    bool await_ready() const noexcept { return of.set_ || deadline <= 0; }
    void await_suspend(std::coroutine_handle<> h) {
      handle = h;
      of.waiting_.push_back(this);
      if (on && deadline != no_deadline) timer = on->set_timer(deadline, [this] { give_up(); });
    }
    bool await_resume() const noexcept { return of.set_; }
    void wake() {
      if (timer) on->cancel_timer(timer);
      handle.resume();
    }
    void give_up() {
      std::erase(of.waiting_, this);
      handle.resume();
    }
  };
  bool set_ = false;
  std::vector<awaiter*> waiting_;

 public:
  auto operator co_await() { return awaiter{.of = *this}; }
  // Whether it was set until then.
  auto until(loop& l, std::int64_t deadline) { return awaiter{.of = *this, .on = &l, .deadline = deadline}; }
};

// One at a time, in the order of asking: auto held = co_await m.lock();
class mutex {
 public:
  class guard {
   public:
    explicit guard(mutex* of) : of_(of) {}
    guard(guard&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    guard& operator=(guard&&) = delete;
    ~guard() {
      if (of_) of_->unlock();
    }

   private:
    mutex* of_;
  };
  auto lock() {
    struct awaiter {
      mutex& of;
      bool await_ready() const noexcept { return !std::exchange(of.locked_, true); }
      void await_suspend(std::coroutine_handle<> h) { of.waiting_.push_back(h); }
      guard await_resume() const noexcept { return guard(&of); }
    };
    return awaiter{*this};
  }

 private:
  void unlock() {
    if (waiting_.empty()) {
      locked_ = false;
      return;
    }
    auto next = waiting_.front();
    waiting_.erase(waiting_.begin());
    next.resume();
  }
  bool locked_ = false;
  std::vector<std::coroutine_handle<>> waiting_;
};

}  // namespace kedge::shim
