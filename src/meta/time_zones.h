// time_zones.h: the time zones that a schedule may be meant in.
#pragma once

#include <memory>
#include <string_view>

#include "base/time_zone.h"

namespace kedge::api {

// "Europe/Paris" of the IANA database; names are case-sensitive.
bool is_time_zone(std::string_view name);

// The zone's clock, from the machine's database (/usr/share/zoneinfo), read once. UTC for "", "UTC", and for "Local",
// as the control plane's own zone is. Null: the machine doesn't have it. For loops that serve nobody: the first time it
// reads a small file.
std::shared_ptr<const time_zone> find_time_zone(std::string_view name);

}  // namespace kedge::api
