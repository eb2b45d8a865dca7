#include "api/cron.h"

#include <fmt/format.h>

#include <algorithm>
#include <expected>

#include "api/time_zones.h"
#include "base/strings.h"
#include "base/time.h"

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
    return std::unexpected(fmt::format("failed to parse int from {}: strconv.Atoi: parsing {}: {}", text, quote(text), long_one ? "value out of range" : "invalid syntax"));
  }
  if (*n < 0) return std::unexpected(fmt::format("negative number ({}) not allowed: {}", *n, text));
  return *n;
}

std::string check_range(std::string_view text, const field_range& r) {
  const auto parts = split(text, '/'), ends = split(parts[0], '-');
  auto low = r.low, high = r.high;
  if (ends[0] != "*" && ends[0] != "?") {
    auto first = number(ends[0], r);
    if (!first) return first.error();
    low = high = *first;
    if (ends.size() > 2) return fmt::format("too many hyphens: {}", text);
    if (ends.size() == 2) {
      auto last = number(ends[1], r);
      if (!last) return last.error();
      high = *last;
    }
  }
  std::int64_t step = 1;
  if (parts.size() > 2) return fmt::format("too many slashes: {}", text);
  if (parts.size() == 2) {
    auto n = number(parts[1], {"", 0, 0, ""});
    if (!n) return n.error();
    step = *n;
    if (ends.size() == 1) high = r.high;  // from there on
  }
  if (low < r.low) return fmt::format("beginning of range ({}) below minimum ({}): {}", low, r.low, text);
  if (high > r.high) return fmt::format("end of range ({}) above maximum ({}): {}", high, r.high, text);
  if (low > high) return fmt::format("beginning of range ({}) beyond end of range ({}): {}", low, high, text);
  if (step == 0) return fmt::format("step of range should be a positive number: {}", text);
  return {};
}

std::string check_named(std::string_view schedule) {
  for (std::string_view known : {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
    if (schedule == known) return {};
  constexpr std::string_view every = "@every ";
  if (!schedule.starts_with(every)) return fmt::format("unrecognized descriptor: {}", schedule);
  auto every_so_often = parse_duration(schedule.substr(every.size()));
  return every_so_often ? std::string() : fmt::format("failed to parse duration {}: {}", schedule, every_so_often.error().message);
}

}  // namespace

std::string time_zone_problem(std::string_view name) {
  if (name.empty() || name == "UTC" || name == "Local") return {};
  if (name.find("..") != name.npos || name[0] == '/' || name[0] == '\\') return "time: invalid location name";
  return is_time_zone(name) ? std::string() : fmt::format("unknown time zone {}", name);
}

std::string cron_problem(std::string_view schedule) {
  if (schedule.empty()) return "empty spec string";
  if (schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=")) {
    auto from = schedule.find('=') + 1, end = schedule.find(' ');
    if (end == schedule.npos) return "invalid schedule format: runtime error: slice bounds out of range [:-1]";
    auto zone = schedule.substr(from, end - from);
    if (auto wrong = time_zone_problem(zone); !wrong.empty()) return fmt::format("provided bad location {}: {}", zone, wrong);
    schedule = trim(schedule.substr(end));
  }
  if (schedule.starts_with('@')) return check_named(schedule);
  std::vector<std::string> fields;
  for (std::size_t from = 0; (from = schedule.find_first_not_of(white, from)) != schedule.npos;) {
    auto end = std::min(schedule.find_first_of(white, from), schedule.size());
    fields.emplace_back(schedule.substr(from, end - from));
    from = end;
  }
  if (fields.size() != std::size(ranges)) return fmt::format("expected exactly 5 fields, found {}: [{}]", fields.size(), join(fields, " "));
  for (std::size_t i = 0; i < fields.size(); ++i)
    for (auto piece : split(fields[i], ','))
      if (auto bad = piece.empty() ? std::string() : check_range(piece, ranges[i]); !bad.empty()) return bad;
  return {};
}

}  // namespace kedge::api
