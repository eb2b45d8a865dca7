#include <chrono>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "base/strings.h"
#include "base/time_zone.h"
#include "cel/functions/libraries.h"
#include "cel/functions/moments.h"
#include "cel/literals.h"
#include "meta/time_zones.h"

namespace kedge::cel {

value timestamp_in_range(const moment& m, arena& memory) {
  if (m.seconds < timestamp_min || m.seconds > timestamp_max) return value::error(memory, "timestamp overflow");
  return value::timestamp(m.seconds, m.nanoseconds, m.offset);
}

value add_to_timestamp(const value& t, std::int64_t nanoseconds, arena& memory) {
  constexpr std::int64_t second = 1'000'000'000;
  std::int64_t seconds = t.seconds() + nanoseconds / second;
  std::int64_t rest = t.nanoseconds() + nanoseconds % second;
  if (rest < 0) {
    rest += second;
    --seconds;
  } else if (rest >= second) {
    rest -= second;
    ++seconds;
  }
  return timestamp_in_range({seconds, static_cast<std::uint32_t>(rest), t.offset()}, memory);
}

value between_timestamps(const value& later, const value& earlier, arena& memory) {
  std::int64_t n = 0;
  const bool too_far =
      __builtin_mul_overflow(later.seconds() - earlier.seconds(), std::int64_t{1'000'000'000}, &n) ||
      __builtin_add_overflow(
          n, static_cast<std::int64_t>(later.nanoseconds()) - static_cast<std::int64_t>(earlier.nanoseconds()), &n);
  return too_far ? value::error(memory, "integer overflow") : value::duration(n);
}

namespace {

using args = std::span<const value>;

// What a clock shows.
struct wall {
  std::chrono::year_month_day date;
  std::int64_t of_day;  // seconds
  unsigned weekday;
  std::int64_t day_of_year;
  std::int64_t milliseconds;
};

wall wall_of(std::int64_t seconds, std::uint32_t nanoseconds) {
  const auto day = std::chrono::floor<std::chrono::days>(std::chrono::sys_seconds(std::chrono::seconds(seconds)));
  const std::chrono::year_month_day date(day);
  const auto begin = std::chrono::sys_days(date.year() / std::chrono::January / 1);
  return {date, seconds - std::int64_t{day.time_since_epoch().count()} * 86'400, std::chrono::weekday(day).c_encoding(),
          (day - begin).count(), nanoseconds / 1'000'000};
}

enum class field { year, month, day_of_year, day_from_zero, day, weekday, hours, minutes, seconds, milliseconds };

value field_of(const wall& w, field f) {
  switch (f) {
    case field::year: return value::integer(static_cast<int>(w.date.year()));
    case field::month: return value::integer(static_cast<std::int64_t>(static_cast<unsigned>(w.date.month())) - 1);
    case field::day_of_year: return value::integer(w.day_of_year);
    case field::day_from_zero:
      return value::integer(static_cast<std::int64_t>(static_cast<unsigned>(w.date.day())) - 1);
    case field::day: return value::integer(static_cast<std::int64_t>(static_cast<unsigned>(w.date.day())));
    case field::weekday: return value::integer(static_cast<std::int64_t>(w.weekday));
    case field::hours: return value::integer(w.of_day / 3600);
    case field::minutes: return value::integer(w.of_day / 60 % 60);
    case field::seconds: return value::integer(w.of_day % 60);
    case field::milliseconds: return value::integer(w.milliseconds);
  }
  return {};
}

// Seconds east of UTC by "+02:30"; an error's text else.
std::expected<std::int64_t, std::string> numeric_offset(std::string_view zone, std::size_t colon) {
  const auto number = [](std::string_view text) -> std::expected<std::int64_t, std::string> {
    auto n = parse_integer(text);
    if (!n) return std::unexpected("strconv.Atoi: parsing " + quote(text) + ": invalid syntax");
    return *n;
  };
  auto hours = number(zone.substr(0, colon));
  if (!hours) return hours;
  auto minutes = number(zone.substr(colon + 1));
  if (!minutes) return minutes;
  return (zone[0] == '-' ? *hours * 60 - *minutes : *hours * 60 + *minutes) * 60;
}

template <field f>
value of_timestamp(args a, arena&) {
  return field_of(wall_of(a[0].seconds(), a[0].nanoseconds()), f);
}

template <field f>
value of_timestamp_in(args a, arena& memory) {
  const std::string_view zone = a[1].as_text();
  const value& t = a[0];
  if (const std::size_t colon = zone.find(':'); colon != std::string_view::npos) {
    auto offset = numeric_offset(zone, colon);
    if (!offset) return value::error(memory, offset.error());
    return field_of(wall_of(t.seconds() + *offset, t.nanoseconds()), f);
  }
  auto known = api::find_time_zone(zone);
  if (!known) return value::error(memory, "unknown time zone " + std::string(zone));
  const std::int64_t offset = known->offset_at(std::chrono::seconds(t.seconds())).count();
  return field_of(wall_of(t.seconds() + offset, t.nanoseconds()), f);
}

// The zone that a text names is read before it is asked for; those that only a value names, all of them.
void prepare_zone(const value* zone) {
  if (!zone)
    api::prefetch_time_zones();
  else if (zone->is(kind::string) && !zone->as_text().contains(':'))
    api::prefetch_time_zone(zone->as_text());
}

template <std::int64_t unit>
value of_duration(args a, arena&) {
  return value::integer(a[0].as_nanoseconds() / unit);
}

template <field f>
function getter(const char* name, const std::string& id, std::string with_zone = {}) {
  if (with_zone.empty()) with_zone = id + "_with_tz";
  function out{name,
               {method(id, {type::timestamp()}, type::integer(), of_timestamp<f>),
                method(with_zone, {type::timestamp(), type::string()}, type::integer(), of_timestamp_in<f>)}};
  out.overloads.back().prepare = prepare_zone;
  return out;
}

template <field f, std::int64_t unit>
function getter_of_both(const char* name, const std::string& id, const char* of, std::string with_zone = {}) {
  function out = getter<f>(name, id, std::move(with_zone));
  out.overloads.push_back(method(of, {type::duration()}, type::integer(), of_duration<unit>));
  return out;
}

}  // namespace

void add_time(environment::builder& b) {
  b.function(getter<field::year>("getFullYear", "timestamp_to_year"));
  b.function(getter<field::month>("getMonth", "timestamp_to_month"));
  b.function(getter<field::day_of_year>("getDayOfYear", "timestamp_to_day_of_year"));
  b.function(getter<field::day_from_zero>("getDayOfMonth", "timestamp_to_day_of_month"));
  b.function(getter<field::day>("getDate", "timestamp_to_day_of_month_1_based"));
  b.function(getter<field::weekday>("getDayOfWeek", "timestamp_to_day_of_week"));
  b.function(getter_of_both<field::hours, 3'600'000'000'000>("getHours", "timestamp_to_hours", "duration_to_hours"));
  b.function(
      getter_of_both<field::minutes, 60'000'000'000>("getMinutes", "timestamp_to_minutes", "duration_to_minutes"));
  b.function(getter_of_both<field::seconds, 1'000'000'000>("getSeconds", "timestamp_to_seconds", "duration_to_seconds",
                                                           "timestamp_to_seconds_tz"));
  b.function(getter_of_both<field::milliseconds, 1'000'000>("getMilliseconds", "timestamp_to_milliseconds",
                                                            "duration_to_milliseconds"));
}

}  // namespace kedge::cel
