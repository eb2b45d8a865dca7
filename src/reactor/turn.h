// turn.h: a place of a semaphore that was acquired, given back at the end of its scope, when the task is dropped, too.
//
//   co_await s.acquire();
//   turn mine(s);
#pragma once

#include "reactor/sync.h"

namespace kedge::reactor {

class turn {
 public:
  explicit turn(semaphore& s) noexcept : semaphore_(s) {}
  turn(const turn&) = delete;
  turn& operator=(const turn&) = delete;
  ~turn() { semaphore_.release(); }

 private:
  semaphore& semaphore_;
};

}  // namespace kedge::reactor
