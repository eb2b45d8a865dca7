// moments.h: arithmetic of points in time, within the years that CEL knows.
#pragma once

#include <cstdint>

#include "cel/literals.h"
#include "cel/value.h"

namespace kedge::cel {

value add_to_timestamp(const value& t, std::int64_t nanoseconds, arena& memory);
value between_timestamps(const value& later, const value& earlier, arena& memory);
value timestamp_in_range(const moment& m, arena& memory);

}  // namespace kedge::cel
