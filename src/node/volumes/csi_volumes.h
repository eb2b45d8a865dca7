// csi_volumes.h: CSI volumes on this node: attached, staged once, published for each pod, grown, and taken away again.
//
//   a pod's volume ─▶ in use, told by the Node ─▶ attached (VolumeAttachment) ─▶ NodeStageVolume ─▶ NodePublishVolume
//   the pod ends   ─▶ NodeUnpublishVolume ─▶ no other pod has it: NodeUnstageVolume ─▶ not in use ─▶ detached by
//   servers
//
// What is on the disk counts (csi_layout.h), not what was done before: an agent that starts anew, or after a kubelet,
// finds what is mounted, leaves it, and takes it away in the end. One thing at a time is done to a volume; a driver
// that hangs holds those who want its volumes, and nobody else.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "node/pods/cluster.h"
#include "node/pods/volume_mounter.h"
#include "node/volumes/csi_drivers.h"
#include "node/volumes/csi_layout.h"
#include "reactor/sync.h"

namespace kedge::node {

struct csi_parts {
  std::string root, node_name;
  pod_cluster& cluster;
  csi_drivers& drivers;
  // The Node is to be written: other volumes are in use now.
  std::function<void()> in_use_changed;
  // Whether the Node that servers know says that the volume is in use; true as well while no server answers.
  std::function<bool(const std::string& volume)> is_told;
};

// What a claim's volume has and has left, as its driver said last.
struct claim_figures {
  std::string pod_uid, volume, ns, claim;
  csi_stats stats;
  wall_time at{};
};

using mount_result = std::expected<mounted_volume, mount_failure>;

class csi_volumes {
 public:
  explicit csi_volumes(csi_parts p) : parts_(std::move(p)), at_{parts_.root} {}
  csi_volumes(const csi_volumes&) = delete;
  csi_volumes& operator=(const csi_volumes&) = delete;

  // What is mounted from before. Once, before anything else.
  task<void> begin();
  // Unstages what no pod has any more, until dropped.
  task<void> run();
  // Asks drivers for figures, until dropped.
  task<void> measure();
  const std::vector<claim_figures>& figures() const { return figures_; }

  task<mount_result> mount(json::value pod, volume_to_mount v);
  task<result<void>> unmount(std::string pod_uid);

  // As a Node names them (status.volumesInUse), sorted. `before` is the Node as it was: of what was found it says
  // whether servers attach it.
  std::vector<std::string> in_use(const json::value& before) const;

 private:
  // A pod's volume by its claim; empty where it was found on the disk.
  struct use {
    std::string volume, ns, claim;
  };
  // One that is staged, or that pods have.
  struct device {
    csi_volume_data data;
    bool is_block = false, is_leaving = false;
    bool is_staged = false;                        // by whomever: it is to be unstaged in the end
    bool staged_here = false;                      // by this agent: after a reboot what was staged before isn't
    std::optional<bool> attachable;                // nullopt: it was found
    std::map<std::string, use, std::less<>> pods;  // by uid
    std::int64_t bytes = 0;                        // as it was when it was published here; 0: not known
    std::string problem;                           // why it couldn't be unstaged
    reactor::semaphore turn{1};
  };
  struct wanted;  // a pod's volume with what is known of it
  struct publication;

  std::string target_of(const wanted& w) const;
  static task<bool> is_there(std::string target, bool is_block);
  device& device_of(const csi_volume_data& d, bool is_block);
  task<std::optional<mount_failure>> attach(const wanted& w, device& d);
  task<mount_result> mount_inline(wanted& w);
  task<mount_result> mount_folder(wanted& w, device& d);
  task<mount_result> mount_block(wanted& w, device& d);
  task<std::optional<mount_failure>> stage(const wanted& w, device& d, csi_driver& driver, const csi_capabilities& has);
  task<std::optional<mount_failure>> publish(const wanted& w, csi_driver& driver, const csi_capabilities& has,
                                             bool again);
  task<result<csi_texts>> publish_context(const wanted& w);
  task<result<csi_texts>> secrets(json::value reference, std::string_view member, std::string ns);
  task<result<void>> add_tokens(const wanted& w, csi_request& r);
  task<void> grow(const wanted& w, device& d);
  task<result<void>> unpublish(found_csi_volume v);
  task<void> let_go(found_csi_volume v, result<void>& out);
  void leave(device& d, const std::string& pod_uid);
  task<void> unstage(device& d);
  task<void> take_away(std::string name);
  bool is_unused(const device& d) const { return d.pods.empty(); }

  csi_parts parts_;
  csi_layout at_;
  std::map<std::string, std::unique_ptr<device>, std::less<>> devices_;  // by their name in the Node's status
  reactor::event unused_, mounted_;
  std::vector<claim_figures> figures_;
};

}  // namespace kedge::node
