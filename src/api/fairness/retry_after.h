// retry_after.h: how long who is refused shall stay away: longer the more are refused. One level's; without I/O.
#pragma once

#include <cstdint>
#include <deque>

#include "base/time.h"

namespace kedge::api::fairness {

// Seconds double when as many seconds have seen three refusals each on average, and fall by one when they have seen
// fewer than one: TCP's way. They grow at most once in their own length.
class retry_after {
 public:
  // Counts a refusal and gives the seconds to tell it.
  int refuse(time_point now);
  int seconds() const noexcept { return seconds_; }

 private:
  struct second {
    std::int64_t at;
    std::uint64_t refused;
  };
  std::deque<second> history_;
  second current_{-1, 0};
  int seconds_ = 1;
  std::int64_t grown_at_ = INT64_MIN / 2;
};

}  // namespace kedge::api::fairness
