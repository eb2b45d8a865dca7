// time_zones.h: the time zones that a schedule may be meant in.
#pragma once

#include <memory>
#include <string_view>

#include "base/time_zone.h"

namespace kedge::api {

// "Europe/Paris" of the IANA database; names are case-sensitive.
bool is_time_zone(std::string_view name);

// The zone's clock, from the machine's database (/usr/share/zoneinfo), read once. UTC for "", "UTC", and for "Local",
// as the control plane's own zone is. Null: the machine doesn't have it. The first time it reads a small file, unless
// that has been fetched. From any thread.
std::shared_ptr<const time_zone> find_time_zone(std::string_view name);

// Lets another thread read it, or all of them: soon it will be asked for, where nobody can wait for a disk.
void prefetch_time_zone(std::string_view name);
void prefetch_time_zones();

}  // namespace kedge::api
