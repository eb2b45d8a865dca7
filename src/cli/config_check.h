// config_check.h: what a start with these options would stumble over on this machine: files, folders, ports, the
// datastore, the server that is to be joined. Looks, and changes nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "cli/flags.h"
#include "cli/options.h"

namespace kedge::cli {

// Appends what is wrong, in words. Blocking, for as long as a database and a server take to answer.
void look_at_machine(audience who, const server_options& o, std::vector<std::string>& problems);

// Why nothing shall be started by a clock that says `now`, in words: what it signs would have ended when it is set (K3s
// refuses, too). nullopt: it may be right.
std::optional<std::string> clock_problem(wall_time now);

}  // namespace kedge::cli
