// ticks.h: the processor's own counter, for measuring what is too short to ask the clock about: some 10 ns a reading,
// no system call. It need not agree between cores.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace kedge::reactor {

using tick_count = std::uint64_t;

inline tick_count ticks() noexcept {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  tick_count n;
  asm volatile("mrs %0, cntvct_el0" : "=r"(n));
  return n;
#else
  return static_cast<tick_count>(monotonic_clock::now().time_since_epoch().count());
#endif
}

// Measured once in a process, against the clock, to a percent or better.
tick_count ticks_of(duration d) noexcept;
duration duration_of(tick_count n) noexcept;

}  // namespace kedge::reactor
