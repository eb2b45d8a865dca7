#include "base/time.h"

#include <algorithm>
#include <cstdint>
#include <ctime>

#include "base/strings.h"

namespace kedge {

namespace {

// Times stand in every object and are written with every create, too often for printf.
char* put_digits(char* at, std::int64_t n, int count) {
  for (int i = count; i-- > 0; n /= 10) at[i] = static_cast<char>('0' + n % 10);
  return at + count;
}

// `digits` of the fraction, cut, not rounded.
std::string format_with_fraction(wall_time t, int digits, bool cut_zeros) {
  using namespace std::chrono;
  auto whole = floor<seconds>(t);
  auto day = floor<days>(whole);
  year_month_day date(day);
  hh_mm_ss clock(whole - day);
  char text[40];
  auto at = put_digits(text, int(date.year()), 4);
  auto part = [&at](char before, std::int64_t n) {
    *at++ = before;
    at = put_digits(at, n, 2);
  };
  part('-', unsigned(date.month()));
  part('-', unsigned(date.day()));
  part('T', clock.hours().count());
  part(':', clock.minutes().count());
  part(':', clock.seconds().count());
  if (digits) {
    *at++ = '.';
    at = put_digits(at, duration_cast<nanoseconds>(t - whole).count(), 9) - (9 - digits);
    if (cut_zeros) {
      while (at[-1] == '0') --at;
      if (at[-1] == '.') --at;
    }
  }
  *at++ = 'Z';
  return std::string(text, at);
}

bool digits_at(std::string_view s, std::size_t at, std::size_t n, int& out) {
  if (at + n > s.size()) return false;
  out = 0;
  for (std::size_t i = at; i < at + n; ++i) {
    if (s[i] < '0' || s[i] > '9') return false;
    out = out * 10 + (s[i] - '0');
  }
  return true;
}

}  // namespace

monotonic_clock::time_point monotonic_clock::now() noexcept {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return time_point(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
}

wall_time system_wall_time() noexcept {
  timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return wall_time(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
}

std::string format_rfc3339(wall_time t) { return format_with_fraction(t, 0, false); }
std::string format_rfc3339_micro(wall_time t) { return format_with_fraction(t, 6, false); }
std::string format_rfc3339_nano(wall_time t) { return format_with_fraction(t, 9, true); }

result<wall_time> parse_rfc3339(std::string_view s) {
  auto bad = [&] {
    return fail(errc::invalid, "parsing time " + quote(s) + " as \"2006-01-02T15:04:05Z07:00\": cannot parse");
  };
  int year, month, day, hour, minute, second;
  if (s.size() < 20 || !digits_at(s, 0, 4, year) || s[4] != '-' || !digits_at(s, 5, 2, month) || s[7] != '-' ||
      !digits_at(s, 8, 2, day) || (s[10] != 'T' && s[10] != 't') || !digits_at(s, 11, 2, hour) || s[13] != ':' ||
      !digits_at(s, 14, 2, minute) || s[16] != ':' || !digits_at(s, 17, 2, second))
    return bad();
  std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                   std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hour > 23 || minute > 59 || second > 59) return bad();
  std::size_t i = 19;
  long long nanos = 0;
  if (s[i] == '.' || s[i] == ',') {
    ++i;
    std::size_t first = i;
    long long scale = 100'000'000;
    for (; i < s.size() && s[i] >= '0' && s[i] <= '9'; ++i) {
      nanos += scale * (s[i] - '0');
      scale /= 10;
    }
    if (i == first) return bad();
  }
  if (i >= s.size()) return bad();
  int offset_minutes = 0;
  if (s[i] == 'Z' || s[i] == 'z') {
    if (i + 1 != s.size()) return bad();
  } else if (s[i] == '+' || s[i] == '-') {
    int oh, om;
    if (i + 6 != s.size() || !digits_at(s, i + 1, 2, oh) || s[i + 3] != ':' || !digits_at(s, i + 4, 2, om) || oh > 23 ||
        om > 59)
      return bad();
    offset_minutes = (oh * 60 + om) * (s[i] == '-' ? -1 : 1);
  } else {
    return bad();
  }
  // Outside of what nanoseconds since 1970 can hold, times are cut to the ends: no client means the year 9999 exactly.
  if (year < 1700) year = 1700;
  if (year > 2250) year = 2250;
  std::chrono::year_month_day bounded{std::chrono::year(year), date.month(), date.day()};
  if (!bounded.ok())
    bounded = std::chrono::year_month_day{std::chrono::year(year), std::chrono::month(2), std::chrono::day(28)};
  return wall_time(std::chrono::sys_days(bounded)) + std::chrono::hours(hour) +
         std::chrono::minutes(minute - offset_minutes) + std::chrono::seconds(second) + std::chrono::nanoseconds(nanos);
}

result<duration> parse_duration(std::string_view text) {
  auto bad = [&] { return fail(errc::invalid, "time: invalid duration " + quote(text)); };
  auto s = text;
  bool negative = false;
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) {
    negative = s[0] == '-';
    s.remove_prefix(1);
  }
  if (s == "0") return duration(0);
  if (s.empty()) return bad();
  long double total = 0;
  while (!s.empty()) {
    long double number = 0;
    bool any = false;
    while (!s.empty() && s[0] >= '0' && s[0] <= '9') {
      number = number * 10 + (s[0] - '0');
      s.remove_prefix(1);
      any = true;
    }
    if (!s.empty() && s[0] == '.') {
      s.remove_prefix(1);
      long double scale = 0.1L;
      while (!s.empty() && s[0] >= '0' && s[0] <= '9') {
        number += scale * (s[0] - '0');
        scale /= 10;
        s.remove_prefix(1);
        any = true;
      }
    }
    if (!any) return bad();
    struct unit {
      std::string_view name;
      long double nanos;
    };
    static constexpr unit units[] = {{"ns", 1},   {"us", 1e3L}, {"\u00b5s", 1e3L}, {"ms", 1e6L},
                                     {"s", 1e9L}, {"m", 60e9L}, {"h", 3600e9L}};
    auto name = s.substr(0, s.find_first_of(".0123456789"));
    if (name.empty()) return fail(errc::invalid, "time: missing unit in duration " + quote(text));
    auto found = std::find_if(std::begin(units), std::end(units), [&](const unit& u) { return u.name == name; });
    if (found == std::end(units))
      return fail(errc::invalid, "time: unknown unit " + quote(name) + " in duration " + quote(text));
    s.remove_prefix(name.size());
    total += number * found->nanos;
    if (total > 9.2e18L) return bad();
  }
  return duration(static_cast<std::int64_t>(negative ? -total : total));
}

std::string format_duration(duration d) {
  if (d == duration(0)) return "0s";
  std::string out;
  auto n = d.count();
  if (n < 0) {
    out = "-";
    n = -n;
  }
  auto decimal = [&](std::int64_t whole, std::int64_t part, int digits, std::string_view unit) {
    out += std::to_string(whole);
    if (part) {
      auto f = std::to_string(part);
      f.insert(0, static_cast<std::size_t>(digits) - f.size(), '0');
      while (f.back() == '0') f.pop_back();
      out += "." + f;
    }
    out += unit;
  };
  if (n < 1'000) {
    decimal(n, 0, 0, "ns");
  } else if (n < 1'000'000) {
    decimal(n / 1'000, n % 1'000, 3, "\u00b5s");
  } else if (n < 1'000'000'000) {
    decimal(n / 1'000'000, n % 1'000'000, 6, "ms");
  } else {
    auto s = n / 1'000'000'000;
    if (s >= 3600) out += std::to_string(s / 3600) + "h";
    if (s >= 60) out += std::to_string(s % 3600 / 60) + "m";
    decimal(s % 60, n % 1'000'000'000, 9, "s");
  }
  return out;
}

}  // namespace kedge
