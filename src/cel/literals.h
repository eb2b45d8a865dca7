// literals.h: text of numbers, times and bytes, to and fro, as Go reads and writes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kedge::cel {

struct moment {
  std::int64_t seconds = 0;  // since 1970
  std::uint32_t nanoseconds = 0;
  std::int32_t offset = 0;  // seconds east of UTC, as the text had it
};

// From 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, in seconds since 1970.
inline constexpr std::int64_t timestamp_min = -62135596800, timestamp_max = 253402300799;

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept;    // decimal, with a sign
std::optional<std::uint64_t> parse_unsigned(std::string_view text) noexcept;  // decimal
std::optional<double> parse_real(std::string_view text);                      // Go's ParseFloat, without hexadecimal
std::optional<bool> parse_boolean(std::string_view text) noexcept;            // Go's ParseBool
std::optional<std::int64_t> parse_go_duration(std::string_view text);         // nanoseconds
std::optional<moment> parse_timestamp(std::string_view text);                 // RFC 3339, in the range of CEL's
// What formats of OpenAPI take: durations with days and weeks and words, dates, times.
std::optional<std::int64_t> parse_duration_format(std::string_view text);
std::optional<moment> parse_date(std::string_view text);
std::optional<moment> parse_date_time_format(std::string_view text);

std::string real_text(double d);                      // Go's %g: "1", "1e+21", "0.1"
std::string decimal_text(double d);                   // never with an exponent
std::string timestamp_text(const moment& m);          // RFC 3339, fraction as needed
std::string duration_text(std::int64_t nanoseconds);  // "1.5s"

std::string encode_base64(std::string_view bytes);
std::optional<std::string> decode_base64(std::string_view text);  // padded or not

}  // namespace kedge::cel
