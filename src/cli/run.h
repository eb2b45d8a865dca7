// run.h: where the command line ends and the daemon begins. Each returns the process's exit code: 0 after an orderly
// shutdown, 1 when it could not start or a second signal cut the shutdown short.
#pragma once

#include "cli/options.h"

namespace kedge::cli {

int run_server(server_options options);
int run_agent(agent_options options);

}  // namespace kedge::cli
