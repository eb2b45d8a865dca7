// selects.h: whether an expression reads a certain field of a variable.
#pragma once

#include <string_view>

#include "cel/environment.h"

namespace kedge::cel {

// `variable.field`, `variable.?field` and has(variable.field) count, variable["field"] doesn't. False for a text that
// isn't an expression.
bool selects(std::string_view text, const environment& within, std::string_view variable, std::string_view field);

}  // namespace kedge::cel
