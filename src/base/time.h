// time.h: the two clocks. Durations and order come from the monotonic one; wall time is only for what people and
// certificates read. Both are read from the loop (reactor/loop.h), so that simulation can own them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge {

using duration = std::chrono::nanoseconds;

// Monotonic, from an arbitrary origin.
struct monotonic_clock {
  using duration = kedge::duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<monotonic_clock>;
  static constexpr bool is_steady = true;
  static time_point now() noexcept;
};
using time_point = monotonic_clock::time_point;

// Nanoseconds since the Unix epoch.
using wall_time = std::chrono::sys_time<std::chrono::nanoseconds>;
wall_time system_wall_time() noexcept;

std::string format_rfc3339(wall_time t);        // 2026-11-21T04:50:38Z (metav1.Time)
std::string format_rfc3339_micro(wall_time t);  // 2026-11-21T04:50:38.000123Z (metav1.MicroTime)
std::string format_rfc3339_nano(wall_time t);   // 2026-11-21T04:50:38.123456789Z, trailing zeros cut (Go's RFC3339Nano)

// RFC 3339 with any fraction and offset; fails on anything else, the message is Go's where a client can see it.
result<wall_time> parse_rfc3339(std::string_view text);

// Go's duration text: "1h30m", "250ms", "1.5s". parse fails on anything else.
result<duration> parse_duration(std::string_view text);
std::string format_duration(duration d);

}  // namespace kedge
