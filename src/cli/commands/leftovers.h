// leftovers.h: what services and their pods leave in the kernel and in the system's own folders when they have ended:
// mounts, network namespaces, links, rules, control groups, state. Blocking; as root, of the calling thread's network.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace kedge::cli::commands {

// Takes all of it away, data directories excepted (their mounts are taken away). Answers what was, for people; goes on
// after a failure, whose text is in the error at the end. Nothing there is fine.
struct taken_away {
  std::vector<std::string> what;
  std::vector<std::string> failures;
};
taken_away remove_leftovers(const std::vector<std::string>& data_dirs);

// The folder with all below it, but for what is mounted there: that is somebody else's. Its not being there is fine.
result<void> remove_folder(const std::string& path);

}  // namespace kedge::cli::commands
