// cron.h: the standard cron grammar of robfig/cron, as CronJob accepts it.
#pragma once

#include <string>
#include <string_view>

namespace kedge::api {

// What is wrong with a schedule; empty when nothing is.
std::string cron_problem(std::string_view schedule);

}  // namespace kedge::api
