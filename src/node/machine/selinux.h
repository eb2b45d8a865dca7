// selinux.h: whether this machine's kernel labels files and processes (SELinux).
#pragma once

#include <string>

namespace kedge::node {

// Whether it is on: its file system is there and can be written to, and a policy is loaded. Blocks: through offload.
bool has_selinux(const std::string& folder = "/sys/fs/selinux");

}  // namespace kedge::node
