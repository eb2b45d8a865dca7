// first_process.h: Kedge as the first process of a container (`docker run`, `ctr run`), which owes something to all
// others there: it takes the ends of those whose parents have gone, and hands on what it is told. A server or agent
// doesn't do that itself, as it waits for its own children by name:
//
//   signals ──▶ process 1: waits for signals and ends, a few pages ──▶ its child: what the command line asks for
//               ◀── whoever lost his parent
//
// It has no handler and no thread, and ends with what its child ended with; the kernel then ends the rest.
#pragma once

#include <optional>
#include <string>

namespace kedge::cli {

// To be called by process 1 before there are threads. Nothing: this is the child, which goes on as if nothing had been;
// else what the process ends with, 128 and the signal's number where a signal ended the child.
std::optional<int> first_process();

// A group of cgroup v2 passes its controllers on only while no process is in it, so those in the container's own go to
// `init` below it, as K3s has it. Nothing happens where the groups can't be changed, or are those of a whole machine.
// `root` stands in for /sys/fs/cgroup in tests, `own` for what /proc/self/cgroup says.
void leave_root_group(const std::string& root = "/sys/fs/cgroup", const std::string& own = "/proc/self/cgroup");

}  // namespace kedge::cli
