// server_settings.h: from what `kedge server` was told to what a server is given (server/settings.h).
#pragma once

#include "cli/options.h"
#include "server/settings.h"

namespace kedge::cli {

// errc::invalid, errc::unsupported: options that can't be used together or at all, and what to do; a line for each.
result<server::settings> server_settings(const server_options& o);

}  // namespace kedge::cli
