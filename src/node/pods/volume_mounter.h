// volume_mounter.h: what a pod's worker asks for volumes that others serve: CSI drivers, NFS servers, images. The real
// one is volumes/node_volumes.h.
#pragma once

#include <string>

#include "json/value.h"
#include "reactor/task.h"

namespace kedge::node {

// One of a pod's volumes that is to be mounted.
struct volume_to_mount {
  std::string name;           // as the pod names it
  json::value source;         // the pod's volume, or its PersistentVolume's spec
  json::value claim, volume;  // by which it has it, and which; null: by none
  bool read_only = false;
  std::string image;  // of an image volume: the image's id; the runtime has it

  // As messages name it.
  std::string spec_name() const {
    return volume.is_null() ? name : std::string(volume["metadata"]["name"].as_string());
  }
};

struct mounted_volume {
  std::string path;  // of a folder, or of the device when it is a block volume
  bool is_device = false;
};

// Why it isn't there: an event for the pod, in the kubelet's words.
struct mount_failure {
  std::string reason = "FailedMount", message;
  bool awaits_attachment = false;  // nothing to tell yet
};

class volume_mounter {
 public:
  virtual ~volume_mounter() = default;

  // Whether image volumes are mounted here; else the runtime does it with the container that has them.
  virtual bool mounts_images() const = 0;

  // What is mounted already stays. Drop it when the pod ends: unmount() undoes what was done.
  virtual task<std::expected<mounted_volume, mount_failure>> mount(json::value pod, volume_to_mount volume) = 0;
  // All that mount() did for the pod, by whatever agent. To be tried again when it fails: the folder of a pod isn't
  // removed before.
  virtual task<result<void>> unmount(std::string pod_uid) = 0;
};

}  // namespace kedge::node
