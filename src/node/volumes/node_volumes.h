// node_volumes.h: volumes that others than the node serve, each by who serves it. The agent's part of this room.
#pragma once

#include "base/exposition.h"
#include "node/volumes/csi_volumes.h"
#include "node/volumes/image_volumes.h"
#include "node/volumes/nfs_volumes.h"

namespace kedge::node {

struct node_volumes_parts {
  std::string root, node_name;  // the kubelet's folder
  bool shares_root = false;     // drivers in pods mount in it
  api_client& api;
  pod_cluster& cluster;
  reactor::network* network = nullptr;
  // The Node is to be written: other volumes are in use now.
  std::function<void()> in_use_changed;
  // Of images' snapshots, where the runtime doesn't mount images by itself.
  std::function<snapshot_source()> snapshots;
  // The Node as servers have it; null while none answers.
  std::function<const json::value*()> told_node;
};

class node_volumes final : public volume_mounter {
 public:
  explicit node_volumes(node_volumes_parts p);

  // Finds what is mounted from before. Once, before anything else.
  task<void> begin();
  // Until dropped.
  task<void> run();
  // Until the cluster knows what drivers this node has: after a start, and when the Node is another.
  task<void> tell_node() { return drivers_.tell_all(); }
  // As a Node names them (status.volumesInUse); `before`: the Node as it was.
  std::vector<std::string> in_use(const json::value& before) const { return csi_.in_use(before); }
  plugin_handler& csi_plugins() { return drivers_; }
  // Of claims whose drivers tell.
  const std::vector<claim_figures>& figures() const { return csi_.figures(); }
  void write_metrics(exposition& out) const;

  bool mounts_images() const override { return images_.is_needed(); }
  task<std::expected<mounted_volume, mount_failure>> mount(json::value pod, volume_to_mount volume) override;
  task<result<void>> unmount(std::string pod_uid) override;

 private:
  const std::string shared_;  // the folder that is to be; empty: none
  csi_node node_;
  csi_drivers drivers_;
  csi_volumes csi_;
  nfs_volumes nfs_;
  image_volumes images_;
};

}  // namespace kedge::node
