#include "base/time_zone.h"

#include <algorithm>

namespace kedge {
namespace {

using seconds = std::chrono::seconds;

constexpr std::size_t header_bytes = 44;
constexpr std::uint32_t changes_most = 4096, types_most = 256;  // real zones have some 250 and 20

std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t n = 0;
  for (unsigned char c : bytes) n = n << 8 | c;
  return n;
}

struct counts {
  std::uint32_t utc, standard, leap, times, types, chars;
  std::size_t body(std::size_t time_bytes) const {
    return std::size_t(times) * (time_bytes + 1) + std::size_t(types) * 6 + chars +
           std::size_t(leap) * (time_bytes + 4) + standard + utc;
  }
};

std::optional<counts> header(std::string_view file) {
  if (file.size() < header_bytes || !file.starts_with("TZif")) return std::nullopt;
  auto at = [&](std::size_t i) { return static_cast<std::uint32_t>(big_endian(file.substr(20 + 4 * i, 4))); };
  counts c{at(0), at(1), at(2), at(3), at(4), at(5)};
  if (c.times > changes_most || c.types == 0 || c.types > types_most || c.chars > 4096 || c.leap > 4096 ||
      c.standard > types_most || c.utc > types_most)
    return std::nullopt;
  return c;
}

// Reads from the front of a POSIX TZ text.
struct reader {
  std::string_view text;
  bool fine = true;

  bool take(char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
  }
  void name() {
    if (take('<')) {
      auto end = text.find('>');
      fine = fine && end != text.npos;
      text.remove_prefix(fine ? end + 1 : text.size());
      return;
    }
    std::size_t n = 0;
    while (n < text.size() && ((text[n] >= 'a' && text[n] <= 'z') || (text[n] >= 'A' && text[n] <= 'Z'))) ++n;
    fine = fine && n >= 3;
    text.remove_prefix(n);
  }
  int number() {
    int n = 0;
    std::size_t i = 0;
    for (; i < text.size() && i < 4 && text[i] >= '0' && text[i] <= '9'; ++i) n = 10 * n + (text[i] - '0');
    fine = fine && i > 0;
    text.remove_prefix(i);
    return n;
  }
  seconds time() {
    const bool negative = take('-');
    if (!negative) take('+');
    seconds t = std::chrono::hours(number());
    if (take(':')) t += std::chrono::minutes(number());
    if (take(':')) t += seconds(number());
    return negative ? -t : t;
  }
};

seconds at_midnight(std::chrono::sys_days d) { return std::chrono::duration_cast<seconds>(d.time_since_epoch()); }

std::int64_t year_of(seconds wall) {
  auto day = std::chrono::floor<std::chrono::days>(std::chrono::sys_seconds(wall));
  return static_cast<int>(std::chrono::year_month_day(day).year());
}

}  // namespace

seconds time_zone::yearly::in_year(std::int64_t year) const noexcept {
  using namespace std::chrono;
  const auto y = std::chrono::year(static_cast<int>(year));
  const auto first = sys_days(y / January / 1);
  if (how == kind::day) return at_midnight(first + days(day)) + time;
  if (how == kind::julian) return at_midnight(first + days(day - 1 + (y.is_leap() && day >= 60))) + time;
  const auto m = std::chrono::month(static_cast<unsigned>(month));
  const auto wanted = weekday(static_cast<unsigned>(day));
  const auto d = week == 5 ? sys_days(y / m / wanted[last]) : sys_days(y / m / wanted[static_cast<unsigned>(week)]);
  return at_midnight(d) + time;
}

seconds time_zone::rule::offset_at(seconds utc) const noexcept {
  if (!summer) return standard;
  const auto year = year_of(utc + standard);
  const auto from = begin.in_year(year) - standard, until = end.in_year(year) - *summer;
  const bool in_summer = from < until ? utc >= from && utc < until : utc >= from || utc < until;
  return in_summer ? *summer : standard;
}

std::optional<time_zone::rule> time_zone::parse_rule(std::string_view text) {
  reader r{text};
  rule out;
  r.name();
  out.standard = -r.time();
  if (!r.fine) return std::nullopt;
  if (r.text.empty()) return out;
  r.name();
  out.summer = out.standard + std::chrono::hours(1);
  if (!r.text.empty() && !r.text.starts_with(',')) out.summer = -r.time();
  for (auto* y : {&out.begin, &out.end}) {
    r.fine = r.fine && r.take(',');
    if (r.take('M')) {
      y->how = yearly::kind::month_week_day;
      y->month = r.number();
      r.fine = r.fine && r.take('.');
      y->week = r.number();
      r.fine = r.fine && r.take('.');
      y->day = r.number();
      r.fine = r.fine && y->month >= 1 && y->month <= 12 && y->week >= 1 && y->week <= 5 && y->day <= 6;
    } else {
      y->how = r.take('J') ? yearly::kind::julian : yearly::kind::day;
      y->day = r.number();
      r.fine = r.fine && y->day <= 366;
    }
    if (r.take('/')) y->time = r.time();
    if (!r.fine) return std::nullopt;
  }
  return r.text.empty() ? std::optional(out) : std::nullopt;
}

result<time_zone> time_zone::parse(std::string_view file) {
  auto bad = [] { return fail(errc::invalid, "not a time zone file"); };
  auto c = header(file);
  if (!c) return bad();
  std::size_t time_bytes = 4, from = header_bytes;
  const bool has_more = file[4] >= '2';
  if (has_more) {
    auto second = header_bytes + c->body(4);
    if (file.size() < second || !(c = header(file.substr(second)))) return bad();
    time_bytes = 8;
    from = second + header_bytes;
  }
  if (file.size() < from + c->body(time_bytes)) return bad();
  auto times = file.substr(from), kinds = times.substr(c->times * time_bytes), types = kinds.substr(c->times);
  auto offset = [&](std::size_t type) { return static_cast<std::int32_t>(big_endian(types.substr(type * 6, 4))); };
  time_zone out;
  out.before_ = seconds(offset(0));
  for (std::uint32_t i = 0; i < c->times; ++i) {
    auto n = big_endian(times.substr(i * time_bytes, time_bytes));
    auto type = static_cast<unsigned char>(kinds[i]);
    if (type >= c->types) return bad();
    out.changes_.push_back(
        {time_bytes == 8 ? static_cast<std::int64_t>(n) : static_cast<std::int32_t>(n), offset(type)});
  }
  if (!std::ranges::is_sorted(out.changes_, {}, &change::at)) return bad();
  if (has_more) {
    auto footer = file.substr(from + c->body(time_bytes));
    if (footer.starts_with('\n'))
      if (auto end = footer.find('\n', 1); end != footer.npos && end > 1)
        out.rule_ = parse_rule(footer.substr(1, end - 1));
  }
  return out;
}

seconds time_zone::offset_at(seconds utc) const noexcept {
  if (changes_.empty()) return rule_ ? rule_->offset_at(utc) : before_;
  auto at = std::ranges::upper_bound(changes_, utc.count(), {}, &change::at);
  if (at == changes_.begin()) return before_;
  if (at == changes_.end() && rule_) return rule_->offset_at(utc);
  return seconds((at - 1)->offset);
}

seconds time_zone::utc_of(seconds wall) const noexcept {
  auto offset = offset_at(wall);
  if (auto there = offset_at(wall - offset); there != offset) offset = there;
  return wall - offset;
}

}  // namespace kedge
