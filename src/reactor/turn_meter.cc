#include "reactor/turn_meter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "reactor/limits.h"
#include "reactor/loop.h"

namespace kedge::reactor {

namespace {

double measure_ticks_per_nanosecond() noexcept {
  constexpr std::chrono::microseconds enough{50};
  const auto from = ticks();
  const auto began = monotonic_clock::now();
  auto now = began;
  while (now - began < enough) now = monotonic_clock::now();
  return static_cast<double>(ticks() - from) / static_cast<double>((now - began).count());
}

double ticks_per_nanosecond() noexcept {
  static const double measured = measure_ticks_per_nanosecond();
  return measured;
}

}  // namespace

tick_count ticks_of(duration d) noexcept {
  return static_cast<tick_count>(static_cast<double>(d.count()) * ticks_per_nanosecond());
}
duration duration_of(tick_count n) noexcept {
  return duration(static_cast<std::int64_t>(static_cast<double>(n) / ticks_per_nanosecond()));
}

void activity::begin() noexcept {
  auto& living = loop::current().turns().living();
  kedge_assert(!linked());
  living.push_back(*this);
  outer_ = running_;
  running_ = this;
}

void activity::end() noexcept {
  if (!linked()) return;
  if (running_ == this) {
    loop::current().turns().end_activity(*this);
    running_ = outer_;
  }
  unlink();
}

turn_meter::turn_meter() noexcept
    : step_budget_(ticks_of(turn_step_time)),
      turn_budget_(ticks_of(turn_time)),
      noted_step_(ticks_of(turn_noted_time)),
      long_turn_(ticks_of(turn_long_time)),
      window_(ticks_of(load_window)) {
  for (std::size_t i = 0; i < bounds.size(); ++i) bounds_[i] = ticks_of(bounds[i]);
  begin_turn();
  window_ended_.store(turn_began_, std::memory_order_relaxed);
}

void turn_meter::note(const activity* what, tick_count now) noexcept {
  auto took = now - step_began_;
  if (took <= longest_step_) return;
  longest_step_ = took;
  // Who ended within this step has left its name.
  if (std::exchange(longest_began_, step_began_) != step_began_) longest_name_.clear();
  living_.for_each([&](activity& a) {
    if (&a == what) longest_name_ = a.describe();
  });
}

void turn_meter::end_turn() noexcept {
  const auto took = step_began_ - turn_began_;
  std::size_t bucket = 0;
  while (bucket < bounds_.size() && took > bounds_[bucket]) ++bucket;
  add<std::uint64_t>(turns_[bucket], 1);
  add(sum_, took);
  if (took > longest_.load(std::memory_order_relaxed)) longest_.store(took, std::memory_order_relaxed);
  if (took > long_turn_) [[unlikely]]
    report(took);
  longest_step_ = 0;
  in_turn_since_.store(0, std::memory_order_relaxed);
  if (step_began_ - window_ended_.load(std::memory_order_relaxed) > window_) end_window();
}

namespace {
// How much of a load is still so after that time without news.
double kept(double seconds) noexcept { return std::exp(-seconds / std::chrono::duration<double>(load_memory).count()); }
double seconds_of(tick_count n) noexcept { return std::chrono::duration<double>(duration_of(n)).count(); }
}  // namespace

void turn_meter::end_window() noexcept {
  const auto sum = sum_.load(std::memory_order_relaxed);
  const auto whole = step_began_ - window_ended_.load(std::memory_order_relaxed);
  const auto busy = std::min(1.0, static_cast<double>(sum - sum_then_) / static_cast<double>(whole));
  const auto before = kept(seconds_of(whole));
  load_.store(load_.load(std::memory_order_relaxed) * before + busy * (1 - before), std::memory_order_relaxed);
  window_ended_.store(step_began_, std::memory_order_relaxed);
  sum_then_ = sum;
}

double turn_meter::load() const noexcept {
  const auto now = ticks();
  // Counters of different processors may differ a little: none of these times is then less than nothing.
  auto since = [&](tick_count then) { return now > then ? seconds_of(now - then) : 0.0; };
  const auto turn = in_turn_since_.load(std::memory_order_relaxed);
  const auto busy = turn ? 1 - kept(since(turn)) : 0.0;
  return load_.load(std::memory_order_relaxed) * kept(since(window_ended_.load(std::memory_order_relaxed))) *
             (1 - busy) +
         busy;
}

void turn_meter::report(tick_count took) noexcept {
  add<std::uint64_t>(long_turns_, 1);
  if (last_report_ != 0 && step_began_ - last_report_ < ticks_of(turn_report_pause)) {
    ++unreported_;
    return;
  }
  last_report_ = step_began_;
  auto milliseconds = [](tick_count n) { return duration_of(n).count() / 1'000'000; };
  log::warning("a turn of the event loop took {} ms, {} ms of them for {}{}", milliseconds(took),
               milliseconds(longest_step_), longest_name_.empty() ? "what has no name" : longest_name_,
               unreported_ ? fmt::format("; {} more since the last of these lines", unreported_) : "");
  unreported_ = 0;
}

turn_meter::totals turn_meter::count() const noexcept {
  totals t;
  for (std::size_t i = 0; i < turns_.size(); ++i) t.turns[i] = turns_[i].load(std::memory_order_relaxed);
  t.long_turns = long_turns_.load(std::memory_order_relaxed);
  t.longest = duration_of(longest_.load(std::memory_order_relaxed));
  t.sum = duration_of(sum_.load(std::memory_order_relaxed));
  return t;
}

}  // namespace kedge::reactor
