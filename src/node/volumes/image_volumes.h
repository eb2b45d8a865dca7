// image_volumes.h: images as volumes, where the runtime can't mount them by itself (containerd before 2.1): a view of
// the image's snapshot, mounted in the pod's folder, as containerd's own CRI does it since.
//
//   image ─▶ CRI: the name of its topmost layer's snapshot ─▶ containerd: a view of it ─▶ mount(2), read-only
//
// The view is marked as in use, and goes with the mount.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "net/grpc.h"
#include "node/pods/volume_mounter.h"

namespace kedge::node {

// Where the images' snapshots are.
struct snapshot_source {
  std::string socket;  // containerd's; empty: it isn't containerd
  std::string snapshotter;
  bool runtime_mounts = false;  // images, by itself
};

// How a snapshot is mounted: containerd's types.Mount.
struct snapshot_mount {
  std::string type, source;
  std::vector<std::string> options;
};
// errc::protocol when the bytes are no such message.
result<std::vector<snapshot_mount>> decode_snapshot_mounts(std::string_view message);
// Of a verbose ImageStatus: "sha256:…"; errc::not_found when containerd doesn't say it.
result<std::string> chain_of_image(std::string_view image_status);
// mount(2)'s flags and data of such options ("ro", "rbind", "lowerdir=…").
struct mount_options {
  unsigned long flags = 0;
  std::string data;
};
mount_options read_mount_options(const std::vector<std::string>& options);

// Whether a runtime takes images as mounts of containers.
bool mounts_images(std::string_view runtime, std::string_view version);

class image_volumes {
 public:
  image_volumes(std::string root, std::function<snapshot_source()> source, reactor::network* network)
      : root_(std::move(root)), source_(std::move(source)), network_(network) {}

  bool is_needed() const;
  // `v.image`: the id of one that the runtime has.
  task<std::expected<mounted_volume, mount_failure>> mount(json::value pod, volume_to_mount v);
  task<result<void>> unmount(std::string pod_uid);

 private:
  task<result<std::string>> call(std::string method, std::string message);
  task<result<std::vector<snapshot_mount>>> view(std::string image, std::string key);
  std::string folder_of(std::string_view pod_uid) const;

  std::string root_;
  std::function<snapshot_source()> source_;
  reactor::network* network_;
};

}  // namespace kedge::node
