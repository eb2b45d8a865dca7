// learner_watch.h: whether a member that is learning gets on. One that stands still for long was given up by its
// server, and while it is there no other server can join.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace kedge::server {

inline constexpr auto learner_patience = std::chrono::minutes(5);  // K3s's

class learner_watch {
 public:
  // `applied`: how far of the log it is; nothing when it doesn't say. Whether it has stood still for too long.
  bool stalled(std::uint64_t member, std::optional<std::uint64_t> applied, time_point now) {
    if (member != member_ || (applied && *applied > applied_)) {
      member_ = member;
      applied_ = applied.value_or(0);
      since_ = now;
    }
    return now - since_ >= learner_patience;
  }

 private:
  std::uint64_t member_ = 0, applied_ = 0;
  time_point since_{};
};

}  // namespace kedge::server
