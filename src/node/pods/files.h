// files.h: what is done in a pod's folder. Blocking, through offload. Each may be done twice: what is there already
// stays.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace kedge::node {

struct volume_file {
  std::string path;  // relative, without ..
  std::string bytes;
  unsigned mode = 0644;
  std::optional<std::int64_t> owner = {};  // nullopt: root
  friend bool operator==(const volume_file&, const volume_file&) = default;
};

struct ownership {
  std::optional<std::int64_t> group;  // fsGroup
  bool only_on_mismatch = false;      // fsGroupChangePolicy: OnRootMismatch
  bool only_readable = false;         // the group may read, not write
};

// The files of a ConfigMap, Secret … as the kubelet's AtomicWriter lays them out: all of them change at one moment.
//
//   ..2026_11_30_03_05_56.123456789/cfg   the files
//   ..data -> ..2026_…                    swapped by rename
//   cfg -> ..data/cfg                     what containers see
//
// True when something was written; nothing is when the files are so already.
result<bool> write_atomically(const std::string& folder, const std::vector<volume_file>& files, const ownership& who);

result<void> make_pod_folder(const std::string& path, unsigned mode);
// Group and modes of a volume's files, so that the group may use them.
result<void> give_to_group(const std::string& folder, const ownership& who);

bool is_mount_point(const std::string& path);
// Whether something is mounted at the folder or below it.
bool has_mounts(const std::string& folder);
// What is mounted in the folder from now on is seen by containers that have it, and what these mount by the machine:
// where the folder's mount isn't shared, as it is with systemd, it gets one of its own. Not while something is mounted
// in it: that would be hidden.
result<void> make_shared(const std::string& folder);
// A tmpfs; success when one is there.
result<void> mount_tmpfs(const std::string& path, std::uint64_t size_bytes);
// `inside` (relative) of `volume`, never out of it whatever links say, mounted at `target`, so that what is there can't
// be exchanged under a container. It is made when it isn't there.
result<void> mount_subpath(const std::string& volume, const std::string& inside, const std::string& target);

// Ends all mounts in `folder`, as far as they can be ended.
void end_mounts(const std::string& folder);
// The same, then removes it with what is in it; never through a mount that is still there.
result<void> remove_pod_folder(const std::string& folder);
// The same without mounts, for logs.
result<void> remove_tree(const std::string& folder);

// hostPath's `type` ("" is none): made when that says so. Errors in the kubelet's words.
result<void> check_host_path(const std::string& path, std::string_view type);

// Cgroups that the pod leaves behind, in whichever hierarchies there are.
void remove_cgroups(const std::string& parent);

}  // namespace kedge::node
