// memory_limit.h: how much memory this process may have.
#pragma once

#include <cstddef>
#include <string>

namespace kedge::cli {

// In bytes: the machine's, or what the control groups (v1 or v2) above the process leave it, whichever is less. 0 where
// neither is known. `root` stands before the paths of /proc and /sys, for tests.
std::size_t memory_limit(const std::string& root = {});

}  // namespace kedge::cli
