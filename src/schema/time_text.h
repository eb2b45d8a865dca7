// time_text.h: metav1.Time and MicroTime: text in JSON, seconds and nanoseconds on the wire, years 0 to 9999.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::schema {

struct instant {
  std::int64_t seconds = 0;  // since 1970, may be negative
  std::int32_t nanos = 0;    // 0 to 999,999,999
};

// Go's zero time.Time, 0001-01-01T00:00:00Z, which stands for "no time".
inline constexpr std::int64_t zero_time_seconds = -62'135'596'800;
inline bool is_zero(const instant& t) noexcept { return t.seconds == zero_time_seconds && t.nanos == 0; }

// RFC 3339; `micro`: with exactly six decimals, as Go's layout for MicroTime wants. The error's text is Go's.
result<instant> parse_time_text(std::string_view text, bool micro);
// UTC; seconds are cut to years 0000 to 9999.
std::string time_text(const instant& t, bool micro);

}  // namespace kedge::schema
