// config_check.h: what a start with these options would stumble over on this machine: files, folders, ports, the
// datastore. Looks, and changes nothing.
#pragma once

#include <string>
#include <vector>

#include "cli/flags.h"
#include "cli/options.h"

namespace kedge::cli {

// Appends what is wrong, in words. Blocking, for as long as a database takes to answer.
void look_at_machine(audience who, const server_options& o, std::vector<std::string>& problems);

}  // namespace kedge::cli
