// unread.h: files and variables that K3s reads and Kedge doesn't yet. Whoever has one learns it at the start, and not
// by what is missing later. Who makes one of them work takes its row away.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "cli/flags.h"
#include "cli/machine.h"

namespace kedge::cli {

// A warning for each that is there. An error for what must not be passed over: the data of a cluster that Kedge can't
// open, where a new and empty one would take its place. Looks at the disk.
result<std::vector<std::string>> look_for_unread(audience who, const server_options& options, const machine& here);

}  // namespace kedge::cli
