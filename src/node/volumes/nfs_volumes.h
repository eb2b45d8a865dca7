// nfs_volumes.h: NFS exports, mounted by mount(8) and its helper as the kubelet does it, and unmounted by umount(8): a
// server that doesn't answer holds a process, never this one.
#pragma once

#include <string>
#include <vector>

#include "node/pods/volume_mounter.h"

namespace kedge::node {

// mount(8)'s arguments: "-t nfs -o hard,ro server:/export /where". Options once each, sorted.
std::vector<std::string> nfs_mount_arguments(const volume_to_mount& v, const std::string& where);
// The command. Whoever writes a pod names the server, which begins as he likes: it is never an option.
std::vector<std::string> nfs_mount_command(const volume_to_mount& v, const std::string& where);

class nfs_volumes {
 public:
  explicit nfs_volumes(std::string root) : root_(std::move(root)) {}

  task<std::expected<mounted_volume, mount_failure>> mount(json::value pod, volume_to_mount v);
  task<result<void>> unmount(std::string pod_uid);

 private:
  std::string folder_of(std::string_view pod_uid) const;

  std::string root_;
};

}  // namespace kedge::node
