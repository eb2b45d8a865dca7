#include "meta/cron.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "base/time.h"
#include "meta/time_zones.h"

namespace kedge::api {
namespace {

constexpr std::string_view white = " \t\n\v\f\r";

struct field_range {
  std::string_view name;
  std::int64_t low, high;
  std::string_view words;  // three letters each, from `low` on
};

constexpr field_range ranges[] = {{"minute", 0, 59, ""},
                                  {"hour", 0, 23, ""},
                                  {"day of month", 1, 31, ""},
                                  {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
                                  {"day of week", 0, 6, "sunmontuewedthufrisat"}};

// A number, as strconv.Atoi reads it, or a name.
std::expected<std::int64_t, std::string> number(std::string_view text, const field_range& r) {
  auto word = lower(text);
  if (word.size() == 3)
    for (std::size_t i = 0; i + 3 <= r.words.size(); i += 3)
      if (r.words.substr(i, 3) == word) return r.low + static_cast<std::int64_t>(i / 3);
  const bool sign = text.starts_with('+') || text.starts_with('-');
  auto digits = text.substr(sign ? 1 : 0);
  auto n = parse_int(text.starts_with('+') && !digits.starts_with('-') ? digits : text);
  if (!n) {
    const bool long_one = !digits.empty() && digits.find_first_not_of("0123456789") == digits.npos;
    return std::unexpected(fmt::format("failed to parse int from {}: strconv.Atoi: parsing {}: {}", text, quote(text),
                                       long_one ? "value out of range" : "invalid syntax"));
  }
  if (*n < 0) return std::unexpected(fmt::format("negative number ({}) not allowed: {}", *n, text));
  return *n;
}

struct bits {
  std::uint64_t set = 0;
  bool any = false;  // a star
};

std::expected<bits, std::string> read_range(std::string_view text, const field_range& r) {
  auto bad = [](std::string why) { return std::unexpected(std::move(why)); };
  const auto parts = split(text, '/'), ends = split(parts[0], '-');
  auto low = r.low, high = r.high;
  bool any = ends[0] == "*" || ends[0] == "?";
  if (!any) {
    auto first = number(ends[0], r);
    if (!first) return bad(first.error());
    low = high = *first;
    if (ends.size() > 2) return bad(fmt::format("too many hyphens: {}", text));
    if (ends.size() == 2) {
      auto last = number(ends[1], r);
      if (!last) return bad(last.error());
      high = *last;
    }
  }
  std::int64_t step = 1;
  if (parts.size() > 2) return bad(fmt::format("too many slashes: {}", text));
  if (parts.size() == 2) {
    auto n = number(parts[1], {"", 0, 0, ""});
    if (!n) return bad(n.error());
    step = *n;
    if (ends.size() == 1) high = r.high;  // from there on
    if (step > 1) any = false;
  }
  if (low < r.low) return bad(fmt::format("beginning of range ({}) below minimum ({}): {}", low, r.low, text));
  if (high > r.high) return bad(fmt::format("end of range ({}) above maximum ({}): {}", high, r.high, text));
  if (low > high) return bad(fmt::format("beginning of range ({}) beyond end of range ({}): {}", low, high, text));
  if (step == 0) return bad(fmt::format("step of range should be a positive number: {}", text));
  bits out{0, any};
  for (auto i = low; i <= high; i += std::min<std::int64_t>(step, 64)) out.set |= std::uint64_t(1) << i;
  return out;
}

std::expected<bits, std::string> read_field(std::string_view text, const field_range& r) {
  bits out;
  for (auto piece : split(text, ',')) {
    if (piece.empty()) continue;
    auto b = read_range(piece, r);
    if (!b) return b;
    out.set |= b->set;
    out.any = out.any || b->any;
  }
  return out;
}

// "@daily" as five fields; "@every 5m" stands for itself.
std::expected<std::string, std::string> spelled_out(std::string_view schedule) {
  constexpr std::pair<std::string_view, std::string_view> named[] = {
      {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
      {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"}};
  for (auto& [name, fields] : named)
    if (schedule == name) return std::string(fields);
  return std::unexpected(fmt::format("unrecognized descriptor: {}", schedule));
}

bool has(std::uint64_t set, unsigned i) noexcept { return (set >> i & 1) != 0; }

}  // namespace

std::string time_zone_problem(std::string_view name) {
  if (name.empty() || name == "UTC" || name == "Local") return {};
  if (name.find("..") != name.npos || name[0] == '/' || name[0] == '\\') return "time: invalid location name";
  return is_time_zone(name) ? std::string() : fmt::format("unknown time zone {}", name);
}

std::expected<cron_schedule, std::string> cron_schedule::parse(std::string_view schedule,
                                                               std::shared_ptr<const time_zone> zone) {
  cron_schedule out;
  out.zone_ = zone ? std::move(zone) : find_time_zone("");
  if (schedule.empty()) return std::unexpected("empty spec string");
  if (schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=")) {
    auto from = schedule.find('=') + 1, end = schedule.find(' ');
    if (end == schedule.npos)
      return std::unexpected("invalid schedule format: runtime error: slice bounds out of range [:-1]");
    auto name = schedule.substr(from, end - from);
    if (auto wrong = time_zone_problem(name); !wrong.empty())
      return std::unexpected(fmt::format("provided bad location {}: {}", name, wrong));
    if (auto named = find_time_zone(name)) out.zone_ = std::move(named);
    schedule = trim(schedule.substr(end));
  }
  std::string spelled;
  constexpr std::string_view every = "@every ";
  if (schedule.starts_with(every)) {
    auto d = parse_duration(schedule.substr(every.size()));
    if (!d) return std::unexpected(fmt::format("failed to parse duration {}: {}", schedule, d.error().message));
    out.every_ = std::max<duration>(std::chrono::floor<std::chrono::seconds>(*d), std::chrono::seconds(1));
    return out;
  }
  if (schedule.starts_with('@')) {
    auto fields = spelled_out(schedule);
    if (!fields) return std::unexpected(fields.error());
    schedule = spelled = *std::move(fields);
  }
  std::vector<std::string> fields;
  for (std::size_t from = 0; (from = schedule.find_first_not_of(white, from)) != schedule.npos;) {
    auto end = std::min(schedule.find_first_of(white, from), schedule.size());
    fields.emplace_back(schedule.substr(from, end - from));
    from = end;
  }
  if (fields.size() != std::size(ranges))
    return std::unexpected(fmt::format("expected exactly 5 fields, found {}: [{}]", fields.size(), join(fields, " ")));
  std::uint64_t* const into[] = {&out.minutes_, &out.hours_, &out.days_, &out.months_, &out.weekdays_};
  for (std::size_t i = 0; i < fields.size(); ++i) {
    auto b = read_field(fields[i], ranges[i]);
    if (!b) return std::unexpected(b.error());
    *into[i] = b->set;
    if (i == 2) out.any_day_ = b->any;
    if (i == 4) out.any_weekday_ = b->any;
  }
  return out;
}

// A date and time on the wall.
struct cron_schedule::civil {
  std::chrono::year_month_day date;
  unsigned hour, minute, second;
  explicit civil(std::chrono::seconds wall) {
    auto t = std::chrono::sys_seconds(wall);
    auto day = std::chrono::floor<std::chrono::days>(t);
    date = day;
    auto rest = static_cast<unsigned>((t - day).count());
    hour = rest / 3600, minute = rest / 60 % 60, second = rest % 60;
  }
};

bool cron_schedule::day_matches(const civil& c) const noexcept {
  const bool day = has(days_, static_cast<unsigned>(c.date.day()));
  const bool weekday = has(weekdays_, std::chrono::weekday(std::chrono::sys_days(c.date)).c_encoding());
  return any_day_ || any_weekday_ ? day && weekday : day || weekday;
}

std::optional<wall_time> cron_schedule::next(wall_time t) const {
  auto whole = std::chrono::floor<std::chrono::seconds>(t.time_since_epoch());
  if (every_ > duration::zero()) return wall_time(whole) + every_;
  return next_of_calendar(whole + std::chrono::seconds(1));
}

// The largest unit that doesn't fit is moved on first, to the beginning of its next one; where that comes around (a new
// year, month, day, hour), what is above it is looked at again. Days are as long as the zone's clock makes them.
std::optional<wall_time> cron_schedule::next_of_calendar(std::chrono::seconds utc) const {
  using namespace std::chrono;
  if (minutes_ == 0 || hours_ == 0 || months_ == 0) return std::nullopt;
  auto wall = [&] { return utc + zone_->offset_at(utc); };
  auto midnight = [&](year_month_day d) {
    return zone_->utc_of(duration_cast<seconds>(sys_days(d).time_since_epoch()));
  };
  const auto last_year = civil(wall()).date.year() + years(5);
  bool moved = false;
  for (;;) {
  again:
    civil c(wall());
    if (c.date.year() > last_year) return std::nullopt;
    if (!has(months_, static_cast<unsigned>(c.date.month()))) {
      utc = midnight(year_month_day(c.date.year() / c.date.month() / 1) + months(1));
      moved = true;
      continue;
    }
    if (!day_matches(c)) {
      utc = midnight(sys_days(c.date) + days(1));
      moved = true;
      // Where midnight isn't: the hour beside it.
      if (civil after(wall()); after.hour != 0) utc += after.hour > 12 ? hours(24 - after.hour) : -hours(after.hour);
      continue;
    }
    if (!has(hours_, c.hour)) {
      if (!moved) utc -= minutes(c.minute) + seconds(c.second);
      moved = true;
      do {
        utc += hours(1);
        c = civil(wall());
        if (c.hour == 0) goto again;
      } while (!has(hours_, c.hour));
    }
    if (!has(minutes_, c.minute)) {
      if (!moved) utc -= seconds(c.second);
      moved = true;
      do {
        utc += minutes(1);
        c = civil(wall());
        if (c.minute == 0) goto again;
      } while (!has(minutes_, c.minute));
    }
    if (c.second == 0) return wall_time(utc);
    utc += seconds(60 - c.second);
    moved = true;
  }
}

std::string cron_problem(std::string_view schedule) {
  auto read = cron_schedule::parse(schedule);
  return read ? std::string() : read.error();
}

}  // namespace kedge::api
