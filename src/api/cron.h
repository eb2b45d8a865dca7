// cron.h: the standard cron grammar of robfig/cron, as CronJob accepts it.
#pragma once

#include <string>
#include <string_view>

namespace kedge::api {

// What is wrong with a schedule; empty when nothing is.
std::string cron_problem(std::string_view schedule);

// What is wrong with a time zone's name; empty when nothing is.
std::string time_zone_problem(std::string_view name);

}  // namespace kedge::api
