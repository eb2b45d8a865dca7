#include "schema/time_text.h"

#include <algorithm>

#include "base/strings.h"

namespace kedge::schema {

namespace {

constexpr std::int64_t first_second = -62'167'219'200;  // 0000-01-01T00:00:00Z
constexpr std::int64_t last_second = 253'402'300'799;   // 9999-12-31T23:59:59Z

// Days since 1970 of a date in the proleptic Gregorian calendar, and back (Hinnant, "chrono-Compatible Low-Level Date
// Algorithms").
std::int64_t days_of(std::int64_t y, int m, int d) {
  y -= m <= 2;
  auto era = (y >= 0 ? y : y - 399) / 400;
  auto yoe = y - era * 400;
  auto doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
  return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

int days_in(int year, int month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// Reads the text from the front; every failure is told as time.Parse tells it.
class reader {
 public:
  reader(std::string_view text, std::string_view layout) : whole_(text), rest_(text), layout_(layout) {}

  result<int> number(std::size_t digits, std::string_view element) {
    int n = 0;
    if (rest_.size() < digits) return cannot(element);
    for (std::size_t i = 0; i < digits; ++i) {
      if (rest_[i] < '0' || rest_[i] > '9') return cannot(element);
      n = n * 10 + (rest_[i] - '0');
    }
    rest_.remove_prefix(digits);
    return n;
  }
  result<void> letter(char c) {
    if (rest_.empty() || rest_.front() != c) return cannot(std::string(1, c));
    rest_.remove_prefix(1);
    return {};
  }
  bool skip(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view rest() const { return rest_; }
  std::unexpected<error> cannot(std::string_view element) const {
    return fail(errc::invalid, "parsing time " + quote(whole_) + " as " + quote(layout_) + ": cannot parse " +
                                   quote(rest_) + " as " + quote(element));
  }
  std::unexpected<error> wrong(std::string_view why) const {
    return fail(errc::invalid, "parsing time " + quote(whole_) + ": " + std::string(why));
  }

 private:
  std::string_view whole_, rest_, layout_;
};

void two(int n, std::string& out) {
  out += static_cast<char>('0' + n / 10);
  out += static_cast<char>('0' + n % 10);
}

}  // namespace

result<instant> parse_time_text(std::string_view text, bool micro) {
  reader in(text, micro ? "2006-01-02T15:04:05.000000Z07:00" : "2006-01-02T15:04:05Z07:00");
  KEDGE_TRY(int year, in.number(4, "2006"));
  KEDGE_CHECK(in.letter('-'));
  KEDGE_TRY(int month, in.number(2, "01"));
  if (month < 1 || month > 12) return in.wrong("month out of range");
  KEDGE_CHECK(in.letter('-'));
  KEDGE_TRY(int day, in.number(2, "02"));
  KEDGE_CHECK(in.letter('T'));
  KEDGE_TRY(int hour, in.number(2, "15"));
  if (hour > 23) return in.wrong("hour out of range");
  KEDGE_CHECK(in.letter(':'));
  KEDGE_TRY(int minute, in.number(2, "04"));
  if (minute > 59) return in.wrong("minute out of range");
  KEDGE_CHECK(in.letter(':'));
  KEDGE_TRY(int second, in.number(2, "05"));
  if (second > 59) return in.wrong("second out of range");
  std::int32_t nanos = 0;
  auto fraction = in.rest();
  if (micro) {
    if (!in.skip('.')) return in.cannot(".000000");
    KEDGE_TRY(int micros, in.number(6, ".000000"));
    nanos = micros * 1000;
  } else if (fraction.size() > 1 && (fraction[0] == '.' || fraction[0] == ',') && fraction[1] >= '0' &&
             fraction[1] <= '9') {
    in.skip(fraction[0]);
    std::int32_t scale = 100'000'000;
    while (!in.rest().empty() && in.rest().front() >= '0' && in.rest().front() <= '9') {
      nanos += scale * (in.rest().front() - '0');
      scale /= 10;
      in.skip(in.rest().front());
    }
  }
  int offset = 0;
  if (!in.skip('Z')) {
    auto sign = in.rest().empty() ? ' ' : in.rest().front();
    if ((sign != '+' && sign != '-') || in.rest().size() < 6 || in.rest()[3] != ':') return in.cannot("Z07:00");
    in.skip(sign);
    KEDGE_TRY(int hours, in.number(2, "Z07:00"));
    KEDGE_CHECK(in.letter(':'));
    KEDGE_TRY(int minutes, in.number(2, "Z07:00"));
    if (hours > 24 || minutes > 59) return in.wrong("time zone offset hour out of range");
    offset = (hours * 60 + minutes) * (sign == '-' ? -60 : 60);
  }
  if (!in.rest().empty()) return in.wrong("extra text: " + quote(in.rest()));
  if (day < 1 || day > days_in(year, month)) return in.wrong("day out of range");
  return instant{days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset, nanos};
}

std::string time_text(const instant& t, bool micro) {
  auto seconds = std::clamp(t.seconds, first_second, last_second);
  auto days = seconds / 86400;
  auto within = static_cast<int>(seconds % 86400);
  if (within < 0) {
    within += 86400;
    --days;
  }
  auto z = days + 719468;
  auto era = (z >= 0 ? z : z - 146096) / 146097;
  auto doe = z - era * 146097;
  auto yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  auto doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  auto mp = (5 * doy + 2) / 153;
  auto day = static_cast<int>(doy - (153 * mp + 2) / 5 + 1);
  auto month = static_cast<int>(mp < 10 ? mp + 3 : mp - 9);
  auto year = static_cast<int>(yoe + era * 400 + (month <= 2));
  std::string out;
  out.reserve(28);
  two(year / 100, out);
  two(year % 100, out);
  out += '-';
  two(month, out);
  out += '-';
  two(day, out);
  out += 'T';
  two(within / 3600, out);
  out += ':';
  two(within / 60 % 60, out);
  out += ':';
  two(within % 60, out);
  if (micro) {
    auto micros = std::to_string(1'000'000 + std::clamp(t.nanos, 0, 999'999'999) / 1000);
    out += '.';
    out += std::string_view(micros).substr(1);
  }
  out += 'Z';
  return out;
}

}  // namespace kedge::schema
