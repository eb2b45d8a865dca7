#include "cel/literals.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/bytes.h"
#include "base/strings.h"
#include "base/time.h"

namespace kedge::cel {

namespace {

bool digit(char c) noexcept { return c >= '0' && c <= '9'; }

// Exactly n digits at the front of text, which are taken off.
std::optional<int> take_digits(std::string_view& text, std::size_t n) noexcept {
  if (text.size() < n) return std::nullopt;
  int out = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!digit(text[i])) return std::nullopt;
    out = out * 10 + (text[i] - '0');
  }
  text.remove_prefix(n);
  return out;
}

bool take(std::string_view& text, char c) noexcept {
  if (text.empty() || text[0] != c) return false;
  text.remove_prefix(1);
  return true;
}

// Seconds of a day's beginning; nothing for a day that isn't.
std::optional<std::int64_t> day_of(int year, int month, int day) noexcept {
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  return std::int64_t{std::chrono::sys_days(date).time_since_epoch().count()} * 86'400;
}

std::optional<std::int64_t> take_date(std::string_view& text) noexcept {
  auto year = take_digits(text, 4);
  if (!year || !take(text, '-')) return std::nullopt;
  auto month = take_digits(text, 2);
  if (!month || !take(text, '-')) return std::nullopt;
  auto day = take_digits(text, 2);
  if (!day) return std::nullopt;
  return day_of(*year, *month, *day);
}

std::optional<int> take_offset(std::string_view& text) noexcept {
  if (take(text, 'Z')) return 0;
  const bool negative = !text.empty() && text[0] == '-';
  if (!take(text, '+') && !take(text, '-')) return std::nullopt;
  auto hours = take_digits(text, 2);
  if (!hours || !take(text, ':')) return std::nullopt;
  auto minutes = take_digits(text, 2);
  if (!minutes || *hours > 24 || *minutes >= 60) return std::nullopt;
  const int offset = (*hours * 60 + *minutes) * 60;
  return negative ? -offset : offset;
}

std::optional<moment> parse_rfc3339_moment(std::string_view text) noexcept {
  auto day = take_date(text);
  if (!day || !take(text, 'T')) return std::nullopt;
  auto hour = take_digits(text, 2);
  if (!hour || *hour > 23 || !take(text, ':')) return std::nullopt;
  auto minute = take_digits(text, 2);
  if (!minute || *minute > 59 || !take(text, ':')) return std::nullopt;
  auto second = take_digits(text, 2);
  if (!second || *second > 59) return std::nullopt;
  std::uint32_t nanoseconds = 0;
  if (!text.empty() && (text[0] == '.' || text[0] == ',')) {
    text.remove_prefix(1);
    std::uint32_t scale = 100'000'000;
    bool any = false;
    for (; !text.empty() && digit(text[0]); text.remove_prefix(1)) {
      nanoseconds += static_cast<std::uint32_t>(text[0] - '0') * scale;
      scale /= 10;
      any = true;
    }
    if (!any) return std::nullopt;
  }
  auto offset = take_offset(text);
  if (!offset || !text.empty()) return std::nullopt;
  return moment{*day + *hour * 3600 + *minute * 60 + *second - *offset, nanoseconds, *offset};
}

// The shortest digits that read back as d (finite, not zero), and the power of ten of the first of them.
struct digits {
  std::string text;
  int exponent;
};

digits shortest(double d) {
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, std::abs(d), std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  digits out{std::string(1, text[0]), 0};
  if (e > 2) out.text += text.substr(2, e - 2);
  std::string_view power = text.substr(e + 1);
  take(power, '+');
  std::from_chars(power.data(), power.data() + power.size(), out.exponent);
  return out;
}

std::string special_text(double d) { return std::isnan(d) ? "NaN" : d < 0 ? "-Inf" : "+Inf"; }

std::string plain(const digits& of, bool negative) {
  std::string out = negative ? "-" : "";
  const int whole = of.exponent + 1;
  if (whole <= 0) return out + "0." + std::string(static_cast<std::size_t>(-whole), '0') + of.text;
  const auto n = static_cast<std::size_t>(whole);
  if (of.text.size() <= n) return out + of.text + std::string(n - of.text.size(), '0');
  return out + of.text.substr(0, n) + "." + of.text.substr(n);
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept {
  if (text.size() > 1 && text[0] == '+' && digit(text[1])) text.remove_prefix(1);
  std::int64_t n = 0;
  auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (text.empty() || bad != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

std::optional<std::uint64_t> parse_unsigned(std::string_view text) noexcept {
  std::uint64_t n = 0;
  auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (text.empty() || bad != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

std::optional<double> parse_real(std::string_view text) {
  std::string_view rest = text;
  bool negative = false;
  if (!rest.empty() && (rest[0] == '+' || rest[0] == '-')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  std::string lower(rest);
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (lower == "inf" || lower == "infinity") return negative ? -HUGE_VAL : HUGE_VAL;
  if (lower == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (lower.empty() || !(digit(lower[0]) || lower[0] == '.')) return std::nullopt;
  double d = 0;
  auto [end, bad] = std::from_chars(lower.data(), lower.data() + lower.size(), d);
  if (end != lower.data() + lower.size()) return std::nullopt;
  if (bad == std::errc::result_out_of_range) {
    // Too small is zero, too large no number.
    const std::size_t e = lower.find('e');
    const bool tiny = e != std::string::npos ? lower.substr(e + 1).starts_with('-')
                                             : lower.starts_with("0.") || lower.starts_with(".");
    if (!tiny) return std::nullopt;
    d = 0;
  } else if (bad != std::errc()) {
    return std::nullopt;
  }
  return negative ? -d : d;
}

std::optional<bool> parse_boolean(std::string_view text) noexcept {
  for (std::string_view yes : {"1", "t", "T", "TRUE", "true", "True"})
    if (text == yes) return true;
  for (std::string_view no : {"0", "f", "F", "FALSE", "false", "False"})
    if (text == no) return false;
  return std::nullopt;
}

std::optional<std::int64_t> parse_go_duration(std::string_view text) {
  auto d = parse_duration(text);
  if (!d) return std::nullopt;
  return d->count();
}

std::optional<moment> parse_timestamp(std::string_view text) { return parse_rfc3339_moment(text); }

std::optional<moment> parse_date(std::string_view text) {
  auto day = take_date(text);
  if (!day || !text.empty()) return std::nullopt;
  return moment{*day, 0};
}

std::optional<moment> parse_date_time_format(std::string_view text) {
  // strfmt takes an empty text for the epoch, lower case letters, and a time without seconds or zone.
  if (text.empty()) return moment{};
  std::string upper(text);
  std::ranges::transform(upper, upper.begin(), [](char c) { return c == 't' ? 'T' : c == 'z' ? 'Z' : c; });
  if (auto m = parse_rfc3339_moment(upper)) return m;
  if (auto m = parse_rfc3339_moment(upper + "Z")) return m;
  // An offset without a colon.
  if (upper.size() > 5 && (upper[upper.size() - 5] == '+' || upper[upper.size() - 5] == '-'))
    return parse_rfc3339_moment(upper.substr(0, upper.size() - 2) + ":" + upper.substr(upper.size() - 2));
  return std::nullopt;
}

std::optional<std::int64_t> parse_duration_format(std::string_view text) {
  if (auto d = parse_go_duration(text)) return d;
  // "2 days", "1 week 3 hrs": strfmt's words.
  struct unit {
    std::string_view name;
    std::int64_t nanoseconds;
  };
  constexpr std::int64_t second = 1'000'000'000;
  static constexpr unit units[] = {{"ns", 1},
                                   {"nano", 1},
                                   {"nanos", 1},
                                   {"nanosecond", 1},
                                   {"nanoseconds", 1},
                                   {"us", 1000},
                                   {"\u00b5s", 1000},
                                   {"micro", 1000},
                                   {"micros", 1000},
                                   {"microsecond", 1000},
                                   {"microseconds", 1000},
                                   {"ms", 1'000'000},
                                   {"milli", 1'000'000},
                                   {"millis", 1'000'000},
                                   {"millisecond", 1'000'000},
                                   {"milliseconds", 1'000'000},
                                   {"s", second},
                                   {"sec", second},
                                   {"secs", second},
                                   {"second", second},
                                   {"seconds", second},
                                   {"m", 60 * second},
                                   {"min", 60 * second},
                                   {"mins", 60 * second},
                                   {"minute", 60 * second},
                                   {"minutes", 60 * second},
                                   {"h", 3600 * second},
                                   {"hr", 3600 * second},
                                   {"hrs", 3600 * second},
                                   {"hour", 3600 * second},
                                   {"hours", 3600 * second},
                                   {"d", 86'400 * second},
                                   {"day", 86'400 * second},
                                   {"days", 86'400 * second},
                                   {"w", 604'800 * second},
                                   {"wk", 604'800 * second},
                                   {"week", 604'800 * second},
                                   {"weeks", 604'800 * second}};
  std::int64_t total = 0;
  bool any = false;
  while (!text.empty()) {
    while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
    if (text.empty()) break;
    std::int64_t n = 0;
    auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (bad != std::errc() || n < 0) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
    const std::string_view name = text.substr(0, text.find_first_of(" 0123456789"));
    auto found = std::ranges::find(units, name, &unit::name);
    std::int64_t part = 0;
    if (found == std::end(units) || __builtin_mul_overflow(n, found->nanoseconds, &part) ||
        __builtin_add_overflow(total, part, &total))
      return std::nullopt;
    text.remove_prefix(name.size());
    any = true;
  }
  return any ? std::optional(total) : std::nullopt;
}

std::string real_text(double d) {
  if (!std::isfinite(d)) return special_text(d);
  if (d == 0) return std::signbit(d) ? "-0" : "0";
  const digits of = shortest(d);
  if (of.exponent >= -4 && of.exponent < 6) return plain(of, d < 0);
  std::string out = d < 0 ? "-" : "";
  out += of.text[0];
  if (of.text.size() > 1) out += "." + of.text.substr(1);
  const int power = std::abs(of.exponent);
  out += of.exponent < 0 ? "e-" : "e+";
  if (power < 10) out += '0';
  return out + std::to_string(power);
}

std::string decimal_text(double d) {
  if (!std::isfinite(d)) return special_text(d);
  if (d == 0) return std::signbit(d) ? "-0" : "0";
  return plain(shortest(d), d < 0);
}

std::string timestamp_text(const moment& m) {
  const std::int64_t seconds = m.seconds + m.offset;
  const auto day = std::chrono::floor<std::chrono::days>(std::chrono::sys_seconds(std::chrono::seconds(seconds)));
  const std::chrono::year_month_day date(day);
  const std::int64_t of_day = seconds - std::int64_t{day.time_since_epoch().count()} * 86'400;
  char text[48];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), static_cast<int>(of_day / 3600),
                static_cast<int>(of_day / 60 % 60), static_cast<int>(of_day % 60));
  std::string out = text;
  if (m.nanoseconds > 0) {
    std::snprintf(text, sizeof text, ".%09u", m.nanoseconds);
    std::string fraction = text;
    fraction.erase(fraction.find_last_not_of('0') + 1);
    out += fraction;
  }
  if (m.offset == 0) return out + "Z";
  const int minutes = std::abs(m.offset) / 60;
  std::snprintf(text, sizeof text, "%c%02d:%02d", m.offset < 0 ? '-' : '+', minutes / 60, minutes % 60);
  return out + text;
}

std::string duration_text(std::int64_t nanoseconds) {
  const double seconds =
      static_cast<double>(nanoseconds / 1'000'000'000) + static_cast<double>(nanoseconds % 1'000'000'000) / 1e9;
  return decimal_text(seconds) + "s";
}

std::string encode_base64(std::string_view bytes) { return base64(as_bytes(bytes)); }

std::optional<std::string> decode_base64(std::string_view text) {
  auto out = unbase64(text);
  if (!out) return std::nullopt;
  return std::move(*out);
}

}  // namespace kedge::cel
