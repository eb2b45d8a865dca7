#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/first_process.h"
#include "cli/installation.h"
#include "cli/run.h"
#include "node/cni/plugin.h"
#include "reactor/offload_end.h"

int main(int count, char** words) {
  using namespace kedge::cli;
  if (::getpid() == 1) {
    leave_root_group();
    if (auto ended = first_process()) return *ended;
  }
  std::signal(SIGPIPE, SIG_IGN);  // a closed peer is an error of the write, not the end of the process
  const daemons run = {run_server, run_agent};
  const std::string program = count > 0 ? words[0] : "kedge";
  // Called by the container runtime, through a link of that name.
  if (auto name = std::string_view(program).substr(program.find_last_of('/') + 1); kedge::node::cni::is_plugin(name))
    return kedge::node::cni::run_plugin(name);
  prefer_own_programs();
  const int code =
      run_program(program, std::vector<std::string>(words + (count > 0 ? 1 : 0), words + count), machine::here(), run);
  // A job that blocks longer (the lookup of a name) leaves nothing behind.
  if (!kedge::reactor::offload_rest(std::chrono::seconds(2))) {
    std::fflush(nullptr);
    std::_Exit(code);
  }
  return code;
}
