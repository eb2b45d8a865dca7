// services.h: what of Kedge runs on this machine: servers and agents, the shims of their containers. Another machine's
// (a container's, a network namespace's) processes are none of this one's, whoever can see them. Blocking; as root.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>
#include <vector>

#include "base/error.h"

namespace kedge::cli::commands {

// Runs a program of PATH and waits for it, its output shown; errors say how it ended.
result<void> run_tool(std::vector<std::string> words);

// The value of --data-dir among the words of a server's or agent's command line; empty without one.
std::string data_dir_in(const std::vector<std::string>& words);

struct running {
  std::vector<pid_t> daemons;       // servers and agents
  std::vector<pid_t> shims;         // of containers, whichever data directory they are of
  std::set<std::string> data_dirs;  // of root's daemons, where they name one
};
running find_running();

// Asks them to end, and ends them by force after a minute and a half, in which a server may say farewell.
result<void> end_orderly(const std::vector<pid_t>& processes);
// The processes and all that they have started, at once.
result<void> end_families(const std::vector<pid_t>& processes);

}  // namespace kedge::cli::commands
