// bridge_filter.h: br_netfilter, without which packets between pods of one bridge pass by the node's rules: answers of
// Services come from the wrong address, and policies don't hold.
#pragma once

#include "base/error.h"
#include "reactor/task.h"

namespace kedge::node {

// Has the kernel load it where it isn't there; what is missing then is logged.
task<void> load_bridge_filter();
// Switches it on in the calling thread's network namespace. Blocks. A kernel without it is left alone.
result<void> filter_bridged_packets();

}  // namespace kedge::node
