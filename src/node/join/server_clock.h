// server_clock.h: whether this machine's clock agrees with the servers', by the Date of their answers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "net/http/handler.h"

namespace kedge::node {

// An HTTP-date as servers write it (IMF-fixdate, RFC 9110 §5.6.7), to the second; nullopt for anything else.
std::optional<wall_time> parse_http_date(std::string_view text);

// Tells the log when the clocks differ by more than clock_difference_told, and again each hour while they do. Of one
// loop.
class server_clock {
 public:
  void saw(const net::http::headers& answer);
  // How far the server's clock is ahead of this one (negative: behind), to the second; what was seen last.
  duration difference() const noexcept { return difference_; }

 private:
  duration difference_{0};
  time_point told_{};  // zero: never
};

}  // namespace kedge::node
