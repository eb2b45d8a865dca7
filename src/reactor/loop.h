// loop.h: one core's event loop.
//
//        io_uring | epoll | simulated world          other threads
//                     │ completions                       │ post()
//                     ▼                                   ▼
//   timers ──▶  ready queue of waiters  ◀──────────  mailbox (never blocks the sender)
//                     │ resume, in order
//                     ▼
//               coroutines of this core
//
// Everything but post() and stop() is called from the loop's own thread. Clock and randomness are the loop's, so that
// the same code runs in a simulated world.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "base/random.h"
#include "base/time.h"
#include "reactor/limits.h"
#include "reactor/mailbox.h"
#include "reactor/scope.h"
#include "reactor/task.h"
#include "reactor/turn_meter.h"

namespace kedge::reactor {

class loop;

// The part of a loop that waits: io_uring, epoll, or the simulated world.
class backend {
 public:
  virtual ~backend() = default;
  virtual const char* name() const noexcept = 0;
  virtual time_point now() noexcept = 0;
  virtual wall_time wall_now() noexcept = 0;
  virtual random_source& random() noexcept = 0;
  // Waits for events until `until` (time_point::max(): for ever; the past: only looks) or wake(), and schedules
  // waiters.
  virtual void wait(time_point until) = 0;
  // From any thread: ends the current or next wait().
  virtual void wake() noexcept = 0;
  // Runs `f` where it may block (offload.h): on the thread pool, or in the simulated world at a later time of its own.
  // false, and `f` is dropped, when too much waits already.
  virtual bool offload(std::move_only_function<void()> f);
  // Whether time passes while coroutines run: not in a simulated world, whose runs must not depend on it.
  virtual bool is_real() const noexcept { return true; }
};

enum class io_backend { automatic, io_uring, epoll };
// nullopt-like: error when io_uring is asked for and the kernel forbids it; `automatic` falls back to epoll.
result<std::unique_ptr<backend>> make_backend(io_backend which);

// A point in time at which a coroutine is resumed, or a callback runs. Takes itself out of the loop's heap when it
// ends.
class timer {
 public:
  explicit timer(loop& owner) noexcept : owner_(owner) {}
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;
  virtual ~timer() { disarm(); }
  void arm(time_point when);  // moves it when armed
  void disarm() noexcept;
  bool armed() const noexcept { return position_ != unarmed; }

 protected:
  // On the loop, once per arm. May arm again; must not end other timers' owners.
  virtual void fired() = 0;

 private:
  friend class loop;
  static constexpr std::size_t unarmed = static_cast<std::size_t>(-1);
  loop& owner_;
  time_point when_{};
  std::size_t position_ = unarmed;
};

class loop {
 public:
  explicit loop(std::unique_ptr<backend> b);
  loop(const loop&) = delete;
  loop& operator=(const loop&) = delete;
  ~loop();

  // The loop that runs on this thread.
  static loop& current() noexcept;
  static loop* try_current() noexcept;

  // The time at which this turn began (monotonic); the wall clock, read at the call.
  time_point now() const noexcept { return now_; }
  wall_time wall_now() noexcept { return backend_->wall_now(); }
  random_source& random() noexcept { return backend_->random(); }
  reactor::backend& io() noexcept { return *backend_; }

  // Resumes `w` in this or the next turn. `w` may wait in a queue; it is taken out of it.
  void schedule(waiter& w) noexcept {
    w.unlink();
    ready_.push_back(w);
  }
  // The loop's own scope: service tasks that live as long as the loop runs.
  void spawn(task<void> t) { root_.spawn(std::move(t)); }

  // From any thread, while the loop stands: runs `f` on it. After run() has ended `f` is dropped with the loop.
  void post(std::move_only_function<void()> f) { mail_->post(std::move(f)); }
  // For threads that may outlive the loop.
  std::shared_ptr<mailbox> mail() const noexcept { return mail_; }

  // Runs until stop(). Then every task of the root scope is cancelled.
  void run();
  // Runs until `t` is done and gives its value: for main, tests and tools.
  template <typename T>
  T run_until(task<T> t);
  void stop() noexcept;

  // One turn: what is ready, then timers and events, waiting until `until` when there is nothing to do. For simulation.
  void turn(time_point until);
  // How long turns take; count() from any thread.
  turn_meter& turns() noexcept { return turns_; }
  // Whether what runs now has run for so long that others should go first (maybe_yield).
  bool yield_is_due() noexcept {
    return real_ ? turns_.step_is_due() : ++simulated_steps_ % simulated_yield_period == 0;
  }

  // Whether a turn now would resume or run something (timers apart).
  bool has_work() const noexcept { return !ready_.empty() || next_message_ < messages_.size() || !mail_->empty(); }
  time_point next_timer() const noexcept;  // time_point::max() without one

  // Makes this the thread's current loop while it lives (tests and the simulated world hold several loops in a thread).
  class current_guard {
   public:
    explicit current_guard(loop& l) noexcept;
    ~current_guard();

   private:
    loop* before_;
  };

 private:
  friend class timer;
  // Ends a step of `of`. A simulated turn never is, whatever it takes in reality.
  bool turn_is_over(const activity* of) noexcept { return !turns_.end_step(of) && real_; }
  void run_ready();
  void run_timers();
  void run_mailbox();
  void sift_up(std::size_t i) noexcept;
  void sift_down(std::size_t i) noexcept;

  std::unique_ptr<backend> backend_;
  time_point now_;
  turn_meter turns_;
  const bool real_;
  unsigned simulated_steps_ = 0;
  list<waiter> ready_;
  std::vector<timer*> timers_;  // binary heap by when_
  std::atomic<bool> stopping_ = false;

  std::shared_ptr<mailbox> mail_;
  std::vector<mailbox::message> messages_;  // taken from the mailbox, those before next_message_ have run
  std::size_t next_message_ = 0;

  scope root_;  // last: ends first, while the backend still stands
};

template <typename T>
T loop::run_until(task<T> t) {
  current_guard guard(*this);
  if constexpr (std::is_void_v<T>) {
    bool done = false;
    scope s;
    s.spawn([](task<T> work, bool& flag) -> task<void> {
      co_await work;
      flag = true;
      loop::current().io().wake();  // it may have ended before this turn's wait
    }(std::move(t), done));
    while (!done) turn(time_point::max());
  } else {
    std::optional<T> value;
    scope s;
    s.spawn([](task<T> work, std::optional<T>& out) -> task<void> {
      out.emplace(co_await work);
      loop::current().io().wake();
    }(std::move(t), value));
    while (!value) turn(time_point::max());
    return std::move(*value);
  }
}

// co_await sleep_until(t) / sleep_for(d).
struct sleep_awaiter : timer, waiter {
  time_point when;
  explicit sleep_awaiter(time_point t) : timer(loop::current()), when(t) {}
  bool await_ready() const noexcept { return when <= loop::current().now(); }
  void await_suspend(std::coroutine_handle<> h) {
    handle = h;
    arm(when);
  }
  void await_resume() const noexcept {}
  void fired() override { loop::current().schedule(*this); }
};
inline sleep_awaiter sleep_until(time_point t) { return sleep_awaiter(t); }
inline sleep_awaiter sleep_for(duration d) { return sleep_awaiter(loop::current().now() + d); }

// Lets the other ready coroutines of this core run first.
struct yield_awaiter : waiter {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) noexcept {
    handle = h;
    loop::current().schedule(*this);
  }
  void await_resume() const noexcept {}
};
inline yield_awaiter yield() { return {}; }

// The same, if this coroutine has run for long (turn_step_time): for loops whose length a client decides.
struct maybe_yield_awaiter : yield_awaiter {
  bool await_ready() const noexcept { return !loop::current().yield_is_due(); }
};
inline maybe_yield_awaiter maybe_yield() { return {}; }

}  // namespace kedge::reactor
