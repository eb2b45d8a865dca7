// time_zones.h: the time zones that a schedule may be meant in.
#pragma once

#include <string_view>

namespace kedge::api {

// "Europe/Paris" of the IANA database; names are case-sensitive.
bool is_time_zone(std::string_view name);

}  // namespace kedge::api
