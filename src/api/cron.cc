#include "api/cron.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "base/time.h"

namespace kedge::api {
namespace {

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

// A number or a name; -1 when it is neither.
std::int64_t number(std::string_view text, const field_range& r) {
  if (auto n = parse_uint(text)) return *n > 1000 ? -1 : static_cast<std::int64_t>(*n);
  auto word = lower(text);
  if (word.size() == 3)
    for (std::size_t i = 0; i + 3 <= r.words.size(); i += 3)
      if (r.words.substr(i, 3) == word) return r.low + static_cast<std::int64_t>(i / 3);
  return -1;
}

std::string check_range(std::string_view text, const field_range& r) {
  auto step = text.find('/');
  auto span = text.substr(0, step);
  if (step != std::string_view::npos) {
    auto rest = text.substr(step + 1);
    if (rest.find('/') != std::string_view::npos) return fmt::format("too many slashes: {}", text);
    auto n = parse_uint(rest);
    if (!n) return fmt::format("failed to parse int from {}: strconv.Atoi: parsing {}: invalid syntax", rest, quote(rest));
    if (*n == 0) return fmt::format("step of range should be a positive number: {}", text);
  }
  if (span == "*" || span == "?") return {};
  auto dash = span.find('-');
  auto low = number(span.substr(0, dash), r);
  auto high = dash == std::string_view::npos ? low : number(span.substr(dash + 1), r);
  if (low < 0 || high < 0) return fmt::format("failed to parse int from {}: strconv.Atoi: parsing {}: invalid syntax", span, quote(span));
  if (low < r.low) return fmt::format("beginning of range ({}) below minimum ({}): {}", low, r.low, text);
  if (high > r.high) return fmt::format("end of range ({}) above maximum ({}): {}", high, r.high, text);
  if (low > high) return fmt::format("beginning of range ({}) beyond end of range ({}): {}", low, high, text);
  return {};
}

}  // namespace

std::string cron_problem(std::string_view schedule) {
  if (schedule.starts_with('@')) {
    for (std::string_view known : {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
      if (schedule == known) return {};
    if (schedule.starts_with("@every ")) {
      if (parse_duration(schedule.substr(7))) return {};
      return fmt::format("failed to parse duration {}", schedule);
    }
    return fmt::format("unrecognized descriptor: {}", schedule);
  }
  std::vector<std::string> fields;
  for (auto part : split(schedule, ' '))
    if (auto field = trim(part); !field.empty()) fields.emplace_back(field);
  if (fields.size() != std::size(ranges)) return fmt::format("expected exactly 5 fields, found {}: [{}]", fields.size(), join(fields, " "));
  for (std::size_t i = 0; i < fields.size(); ++i)
    for (auto piece : split(fields[i], ','))
      if (auto bad = check_range(piece, ranges[i]); !bad.empty()) return bad;
  return {};
}

}  // namespace kedge::api
