// time_zone.h: what a clock on the wall of a zone shows: offsets from UTC as a compiled zone file says (RFC 8536).
// Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge {

class time_zone {
 public:
  using seconds = std::chrono::seconds;

  // UTC.
  time_zone() = default;
  // errc::invalid when the bytes are no such file.
  static result<time_zone> parse(std::string_view file);

  // What is added to UTC at a moment (seconds since 1970).
  seconds offset_at(seconds utc) const noexcept;
  // The moment when the wall shows this (as if it were UTC). Of two, or none at all: one that is right by the clock
  // before or after the change, as Go's time.Date chooses.
  seconds utc_of(seconds wall) const noexcept;

 private:
  // A change of each year: "the last Sunday of March at 2:00" (POSIX TZ).
  struct yearly {
    enum class kind : unsigned char { month_week_day, julian, day } how = kind::day;
    int month = 0, week = 0, day = 0;
    seconds time{7200};
    seconds in_year(std::int64_t year) const noexcept;  // from 1970, on the wall
  };
  struct rule {
    seconds standard{0};
    std::optional<seconds> summer;
    yearly begin, end;
    seconds offset_at(seconds utc) const noexcept;
  };
  struct change {
    std::int64_t at;
    std::int32_t offset;
  };
  static std::optional<rule> parse_rule(std::string_view text);

  std::vector<change> changes_;
  seconds before_{0};         // the first of them
  std::optional<rule> rule_;  // behind the last of them
};

}  // namespace kedge
