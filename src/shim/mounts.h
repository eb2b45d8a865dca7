// mounts.h: a container's root, put together by the mounts that containerd's snapshotter asks for.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "shim/messages.h"

namespace kedge::shim {

// Mounts all of them at `target` (a mount's own target is a path within), in order. What was mounted stays on an error.
result<void> mount_all(const std::vector<mount_request>& mounts, const std::string& target);

// Takes away all that is mounted at and below the folder; nothing mounted, or no folder, is fine.
result<void> unmount_below(const std::string& folder);

// What a mount's options mean to mount(2).
struct mount_flags {
  unsigned long set = 0;
  unsigned long propagation = 0;
  std::string data;
  std::string base;  // where paths in `data` begin, when they had to be shortened; else empty
};
// Lower layers of an overlay are written relative to their common folder when all of them don't fit into a page.
mount_flags read_flags(const mount_request& m, std::size_t page_bytes);

}  // namespace kedge::shim
