// default_map.h: maps in which every key finds something: what isn't there, finds the default. It is not a member all
// the same: `in` and folds see only what was put in.
#pragma once

#include <span>
#include <utility>

#include "cel/value.h"

namespace kedge::cel {

// Of keys that are not there twice.
value map_with_default(arena& memory, std::span<const std::pair<value, value>> entries, const value& otherwise);
// Null for every other value.
const value* default_of(const value& map) noexcept;

}  // namespace kedge::cel
