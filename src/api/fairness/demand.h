// demand.h: how many seats a level could have used, over time; and how many it gets. Without I/O.
//
//   each core: demand_integral (seats in use and waited for) ─▶ sum ─▶ demand (per period, smoothed) ─▶ share_out ─▶
//   limits of all levels
#pragma once

#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace kedge::api::fairness {

// The moments of a number over a time.
struct demand_sum {
  double seconds = 0, average = 0, deviation = 0, highest = 0;

  // Of two numbers at once, taken as independent: cores know of each other's averages, not of their common moments. The
  // highest is then too high rather than too low.
  demand_sum& operator+=(const demand_sum& other) noexcept;
};

class demand_integral {
 public:
  explicit demand_integral(time_point now) noexcept : at_(now) {}
  void set(time_point now, double x) noexcept {
    advance(now);
    now_ = x;
    if (x > highest_) highest_ = x;
  }
  double value() const noexcept { return now_; }
  // Of the time since the last take().
  demand_sum take(time_point now) noexcept;

 private:
  void advance(time_point now) noexcept {
    if (now <= at_) return;  // mostly: what runs within one turn
    auto dt = std::chrono::duration<double>(now - at_).count();
    at_ = now;
    seconds_ += dt;
    sum_ += now_ * dt;
    squares_ += now_ * now_ * dt;
  }
  time_point at_;
  double now_ = 0, highest_ = 0;
  double seconds_ = 0, sum_ = 0, squares_ = 0;
};

// One level's, from period to period.
struct demand {
  double average = 0, deviation = 0, smoothed = 0;
  unsigned highest = 0;
  void update(const demand_sum& period) noexcept;
};

// What a level is configured to have.
struct level_limits {
  bool exempt = false;
  unsigned nominal = 0, lowest = 0, highest = 0;
};
// `total` seats (of the server) by shares: nominal, less what may be lent, and more what may be borrowed.
level_limits limits_of(double shares, double all_shares, unsigned total, bool exempt, int lendable_percent,
                       int borrowing_percent /* < 0: any */);

struct level_share {
  level_limits limits;
  demand wants;
  unsigned gets = 0;  // out
  double target = 0;  // out
};
// Divides the sum of the nominal limits: exempt levels get what they used, the others by their demand, each within its
// limits. Gives the fair fraction: by what each target was multiplied. Invariant: without exempt demand the sum of
// `gets` is the sum of nominal limits, but for rounding.
double share_out(std::vector<level_share>& levels);

// Shares of `sum` in proportion to targets, within bounds; `fair` is the factor. target >= low, high >= low.
// errc::invalid when the bounds make it impossible.
struct bounded_target {
  double target, low, high;
};
struct proportional {
  std::vector<double> shares;
  double fair = 0;
};
result<proportional> in_proportion(double sum, const std::vector<bounded_target>& items);

}  // namespace kedge::api::fairness
