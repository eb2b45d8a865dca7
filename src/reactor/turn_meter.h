// turn_meter.h: how long a loop's turns take: from one look at the sockets to the next. Whoever makes one long is named
// in the log.
//
//   look ─▶ step, step, … step ─▶ look        a step: one resumed coroutine, message or timer
//
// Written by the loop, read by any thread.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "reactor/activity.h"
#include "reactor/ticks.h"

namespace kedge::reactor {

class turn_meter {
 public:
  // Upper bounds of the histogram's buckets; one more has the rest.
  static constexpr std::array bounds{std::chrono::microseconds(1'000),  std::chrono::microseconds(5'000),
                                     std::chrono::microseconds(10'000), std::chrono::microseconds(20'000),
                                     std::chrono::microseconds(50'000), std::chrono::microseconds(100'000),
                                     std::chrono::microseconds(500'000)};
  struct totals {
    std::array<std::uint64_t, bounds.size() + 1> turns{};  // by bucket
    std::uint64_t long_turns = 0;
    duration longest{0}, sum{0};
  };
  // From any thread; each number is whole, not all of one moment.
  totals count() const noexcept;
  // The part of the last half second or so in which the loop had something to do: 0 to 1. A turn that goes on counts
  // already.
  double load() const noexcept;

  turn_meter() noexcept;

  // --- the loop's side
  void begin_turn() noexcept {
    turn_began_ = step_began_ = ticks();
    in_turn_since_.store(turn_began_, std::memory_order_relaxed);
  }
  // A step of `what` ends and another one may begin. False: the turn has had its time, the sockets are to be looked at.
  bool end_step(const activity* what) noexcept {
    auto now = ticks();
    if (now - step_began_ > noted_step_) [[unlikely]]
      note(what, now);
    step_began_ = now;
    return now - turn_began_ < turn_budget_;
  }
  void end_turn() noexcept;
  // An activity ends within a step: afterwards nobody could tell its name.
  void end_activity(const activity& what) noexcept {
    auto now = ticks();
    if (now - step_began_ > noted_step_) [[unlikely]]
      note(&what, now);
  }
  bool step_is_due() const noexcept { return ticks() - step_began_ > step_budget_; }
  // The activities that live: what a waiter remembers may be gone.
  list<activity>& living() noexcept { return living_; }

 private:
  [[gnu::noinline]] void note(const activity* what, tick_count now) noexcept;
  [[gnu::noinline, gnu::cold]] void report(tick_count took) noexcept;
  void end_window() noexcept;

  tick_count turn_began_ = 0, step_began_ = 0;
  const tick_count step_budget_, turn_budget_, noted_step_, long_turn_;
  std::array<tick_count, bounds.size()> bounds_;
  list<activity> living_;
  // The longest step of this turn that was worth a note.
  tick_count longest_step_ = 0, longest_began_ = 0;
  std::string longest_name_;
  // Of the log's rate.
  tick_count last_report_ = 0;
  std::uint64_t unreported_ = 0;

  // Written by the loop's thread alone, so a load and a store do. Relaxed: nothing else is published by these.
  template <typename T>
  static void add(std::atomic<T>& to, T n) noexcept {
    to.store(to.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::array<std::atomic<std::uint64_t>, bounds.size() + 1> turns_{};
  std::atomic<std::uint64_t> long_turns_{0};
  std::atomic<tick_count> longest_{0}, sum_{0};
  // Of load(): the turn that goes on (0: none), and the load at the end of the last window.
  std::atomic<tick_count> in_turn_since_{0}, window_ended_{0};
  std::atomic<double> load_{0};
  const tick_count window_;
  tick_count sum_then_ = 0;
};

}  // namespace kedge::reactor
