// clock_watch.h: how far the other servers' clocks are from this one's, by the times that they write into their rows.
//
//   row of a server, with the time at which it was written ─▶ saw() ─▶ of the last few the most favourable ─▶ warning,
//   metric
//
// What is on its way only makes its writer look late, so that of the last observations the greatest is the truest: a
// slow datastore, or this process having slept, makes no clock wrong. Nothing is decided by it: certificates, tokens
// and leases only go wrong in silence where clocks differ, and who sees this line knows why.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>

#include "base/time.h"

namespace kedge::control {

class clock_watch {
 public:
  // `server` wrote at `theirs`, which was seen at `here`. Any thread, as all below.
  void saw(const std::string& server, wall_time theirs, wall_time here);
  // It is gone, or what was observed counts no more (this process slept).
  void forget(const std::string& server);
  void forget_all();
  // Tells the log which clocks differ by more than clock_difference_told: once when it begins, and each hour while it
  // lasts.
  void judge(time_point now);

  // How far that clock is ahead of this one (negative: behind); servers that haven't been observed often enough are
  // left out.
  std::map<std::string, duration> differences() const;
  // The same for /metrics.
  void append_metrics(std::string& out) const;

 private:
  static constexpr std::size_t observations = 5;  // ten seconds of renewals
  struct one {
    std::array<duration, observations> ahead{};
    std::size_t seen = 0;
    time_point told{};  // zero: it is not told of as different
    bool known() const noexcept { return seen >= observations; }
    duration best() const;
  };
  mutable std::mutex mutex_;  // a scrape's core reads what the servers' core writes
  std::map<std::string, one> servers_;
};

}  // namespace kedge::control
