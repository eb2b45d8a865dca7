// cron.h: the standard cron grammar of robfig/cron, as CronJob accepts it, and when a schedule comes.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "base/time_zone.h"

namespace kedge::api {

// A schedule, understood.
class cron_schedule {
 public:
  // The other side: what is wrong with it, in robfig's words. `zone` is where a schedule that names none is meant.
  static std::expected<cron_schedule, std::string> parse(std::string_view text,
                                                         std::shared_ptr<const time_zone> zone = nullptr);

  // The first time after `t`, whole seconds; nullopt: none in five years.
  std::optional<wall_time> next(wall_time t) const;

 private:
  struct civil;
  bool day_matches(const civil& c) const noexcept;
  std::optional<wall_time> next_of_calendar(std::chrono::seconds t) const;

  std::uint64_t minutes_ = 0, hours_ = 0, days_ = 0, months_ = 0, weekdays_ = 0;  // bits
  bool any_day_ = false, any_weekday_ = false;                                    // written as a star
  duration every_{};                                                              // "@every 5m"; else zero
  std::shared_ptr<const time_zone> zone_;
};

// What is wrong with a schedule; empty when nothing is.
std::string cron_problem(std::string_view schedule);

// What is wrong with a time zone's name; empty when nothing is.
std::string time_zone_problem(std::string_view name);

}  // namespace kedge::api
