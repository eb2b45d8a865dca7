// work.h: what a request is expected to cost, in seats and time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/time.h"

namespace kedge::api::fairness {

// A request holds max_seats() while it runs, and for `after` from its end (what its watchers make of it).
struct work {
  unsigned seats = 1;        // while it runs
  unsigned final_seats = 0;  // during `after`
  duration after{0};

  unsigned max_seats() const noexcept { return std::max(seats, final_seats); }
};

// Seats taken for a time, in millionths of a seat's second: sums are exact, and 600 seats pass its end after 480 years.
using seat_time = std::int64_t;
inline seat_time seats_for(double seats, duration d) noexcept {
  return std::llround(seats * static_cast<double>(d.count()) / 1e3);
}
inline double seat_seconds(seat_time t) noexcept { return static_cast<double>(t) / 1e6; }

}  // namespace kedge::api::fairness
