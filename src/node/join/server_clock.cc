#include "node/join/server_clock.h"

#include <array>

#include "base/log.h"
#include "base/strings.h"
#include "node/limits.h"
#include "reactor/loop.h"

namespace kedge::node {

namespace {

std::optional<int> number(std::string_view digits) {
  auto n = parse_uint(digits);
  return n ? std::optional<int>(static_cast<int>(*n)) : std::nullopt;
}

}  // namespace

std::optional<wall_time> parse_http_date(std::string_view text) {
  static constexpr std::array<std::string_view, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  // Sun, 06 Nov 1994 08:49:37 GMT
  if (text.size() != 29 || text.substr(3, 2) != ", " || text[7] != ' ' || text[11] != ' ' || text[16] != ' ' ||
      text[19] != ':' || text[22] != ':' || text.substr(25) != " GMT")
    return std::nullopt;
  unsigned month = 0;
  while (month < months.size() && months[month] != text.substr(8, 3)) ++month;
  auto day = number(text.substr(5, 2)), year = number(text.substr(12, 4)), hour = number(text.substr(17, 2)),
       minute = number(text.substr(20, 2)), second = number(text.substr(23, 2));
  if (month == months.size() || !day || !year || !hour || !minute || !second || *hour > 23 || *minute > 59 ||
      *second > 60)
    return std::nullopt;
  std::chrono::year_month_day date(std::chrono::year(*year), std::chrono::month(month + 1),
                                   std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

void server_clock::saw(const net::http::headers& answer) {
  auto theirs = parse_http_date(answer.get("Date"));
  if (!theirs) return;
  auto& loop = reactor::loop::current();
  difference_ = *theirs - std::chrono::floor<std::chrono::seconds>(loop.wall_now());
  bool differs = difference_ > clock_difference_told || difference_ < -clock_difference_told;
  // Answers come from several servers, of which one may be wrong: nothing is said when the next one agrees.
  if (!differs || (told_ != time_point{} && loop.now() - told_ < clock_told_again)) return;
  told_ = loop.now();
  log::warning(
      "this machine's clock is {} {} the servers'; certificates and leases need clocks that agree: see to both "
      "machines' time synchronisation",
      format_duration(difference_ < duration::zero() ? -difference_ : difference_),
      difference_ < duration::zero() ? "ahead of" : "behind");
}

}  // namespace kedge::node
