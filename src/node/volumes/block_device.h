// block_device.h: a block volume as the kubelet maps it for a pod: the device mounted below the volume's folder, and a
// link in the pod's. Blocking.
#pragma once

#include <string>

#include "base/error.h"

namespace kedge::node {

// `device` mounted at the file `map`, and `link` pointing to `device`. Done again: nothing changes.
result<void> map_block_device(const std::string& device, const std::string& map, const std::string& link);
// Undoes the mount; what isn't there is fine. A loop device that a kubelet has put on the map is let go. The link goes
// when the device is gone: it tells that there was one.
result<void> unmap_block_device(const std::string& map);
bool is_block_device(const std::string& path);

}  // namespace kedge::node
