// node_settings.h: from what the command line said of a node to what an agent is given (node/config.h).
#pragma once

#include <optional>

#include "cli/options.h"
#include "node/config.h"

namespace kedge::cli {

node::agent_config node_config(const agent_options& o);

// An agent's way to its servers, as this process's environment has it.
std::optional<node::proxy_environment> proxy_of_this_process();

}  // namespace kedge::cli
