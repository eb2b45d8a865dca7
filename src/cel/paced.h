// paced.h: evaluations that let others go first. An expression may cost ten milliseconds by its budget, and what it
// compares is more; few cost more than a part of that.
//
//   paced turns;
//   while (!turns.step(memory, [&] { ran = cel::run(…, memory, …); })) co_await reactor::maybe_yield();
//
// What is short is run as it is. What would be longer than a part is ended, and begun anew on a stack of its own, where
// it can be left in the middle.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "base/in_parts.h"
#include "cel/arena.h"
#include "cel/limits.h"

namespace kedge::cel {

class paced {
 public:
  // `part`: steps.
  explicit paced(std::size_t part = part_work) : part_(part) {}

  // `evaluate` runs expressions with that arena. True: it has come to its end. False: step() is to be called again,
  // which goes on with it; what it refers to stays where it is until then. It may be begun twice: what it leaves behind
  // when memory.was_cut() must be nothing.
  bool step(arena& memory, std::function<void()> evaluate);

 private:
  std::size_t part_;
  std::unique_ptr<in_parts> parts_;
};

}  // namespace kedge::cel
