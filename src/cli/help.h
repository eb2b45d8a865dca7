// help.h: --help's text, from the tables.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/flags.h"

namespace kedge::cli {

// The flags of one audience by group, a line each: names, what they do, environment, default. Lines are wrapped for a
// terminal of 120 columns.
std::string flags_help(std::span<const flag> table, audience who);

}  // namespace kedge::cli
