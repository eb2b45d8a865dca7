// leftovers.h: what services and their pods leave in the kernel and in the system's own folders when they have ended:
// mounts, network namespaces, links, rules, control groups, state. Blocking; as root, of the calling thread's network.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::cli::commands {

// What servers and agents have in a data directory.
inline constexpr std::string_view state_names[] = {"agent", "server", "storage"};

// Takes all of it away, data directories excepted (what containerd has mounted there is unmounted; disks stay). Answers
// what was, for people; goes on after a failure, whose text is in the error at the end. Nothing there is fine.
struct taken_away {
  std::vector<std::string> what;
  std::vector<std::string> failures;
};
taken_away remove_leftovers(const std::vector<std::string>& data_dirs);

// The folder (an absolute path, without a slash at its end) with all below it, but for what is mounted there: that is
// somebody else's. A link goes, and not what it leads to. Its not being there is fine.
result<void> remove_folder(const std::string& folder);

// The programs that a K3s has unpacked below a data directory, in `data`. That is a name which others use as well: what
// isn't named as K3s names it stays, and the folder with it.
result<void> remove_k3s_programs(const std::string& data_dir);

}  // namespace kedge::cli::commands
