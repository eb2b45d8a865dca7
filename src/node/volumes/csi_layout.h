// csi_layout.h: where CSI volumes are on a node, and what is written beside them; the kubelet's places, so that either
// takes over what the other mounted.
//
//   plugins/kubernetes.io/csi/DRIVER/<sha256 of the handle>/globalmount     staged, with vol_data.json beside it
//   pods/UID/volumes/kubernetes.io~csi/NAME/mount                           published, with vol_data.json beside it
//   plugins/kubernetes.io/csi/volumeDevices/staging/NAME                    block volumes: staged
//   plugins/kubernetes.io/csi/volumeDevices/publish/NAME/UID                published
//   plugins/kubernetes.io/csi/volumeDevices/NAME/data/vol_data.json         what it is
//   plugins/kubernetes.io/csi/volumeDevices/NAME/dev/UID                    the device, mounted
//   pods/UID/volumeDevices/kubernetes.io~csi/NAME                           a link to where it is published
//
// NAME is the PersistentVolume's, or of an inline volume the pod's name for it. What isn't a path blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::node {

struct csi_layout {
  std::string root;  // the kubelet's folder

  std::string global_mount(std::string_view driver, std::string_view handle) const;
  std::string published(std::string_view uid, std::string_view name) const;
  std::string block_staged(std::string_view name) const;
  std::string block_published(std::string_view name, std::string_view uid) const;
  std::string block_folder(std::string_view name) const;  // with data/ and dev/
  std::string block_link(std::string_view uid, std::string_view name) const;
};

// vol_data.json
struct csi_volume_data {
  std::string driver, handle, name, node, attachment;
  bool ephemeral = false;
  bool is_global = false;  // of a staged one: driver and handle alone
  bool is_block = false;
};
std::string volume_data_text(const csi_volume_data& d);
result<csi_volume_data> parse_volume_data(std::string_view text);
result<void> save_volume_data(const std::string& folder, const csi_volume_data& d);
result<csi_volume_data> load_volume_data(const std::string& folder);

// "csi-<sha256>": of a VolumeAttachment, and of an inline volume's handle.
std::string attachment_name(std::string_view handle, std::string_view driver, std::string_view node);
std::string inline_handle(std::string_view uid, std::string_view name);

// Removes `path` (…/mount, …/globalmount), the vol_data.json beside it and the folder of both, where nothing is mounted
// at it; errc::unavailable when something is.
result<void> remove_mount_folder(const std::string& path);

// What is found of a pod's volumes, or of those that are staged.
struct found_csi_volume {
  csi_volume_data data;
  std::string pod_uid;  // empty: staged
  bool is_block = false;
};
std::vector<found_csi_volume> find_pod_csi_volumes(const csi_layout& at, const std::string& uid);
std::vector<found_csi_volume> find_csi_volumes(const csi_layout& at);  // of all pods, and staged ones

}  // namespace kedge::node
