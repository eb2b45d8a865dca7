// persistent_volume.h: what a PersistentVolume is made of: of a volume, and of one that a VolumeAttachment describes
// itself.
#pragma once

#include <string_view>

#include "meta/validate.h"

namespace kedge::api {

struct volume_rules {
  std::string_view name;          // of the volume
  bool in_attachment = false;     // a CSI driver's volume that a pod has of its own
  bool any_label_values = false;  // an older object's node affinity has bad ones
};

void check_volume_spec(causes& out, const json::value& spec, const place& at, const volume_rules& rules);

}  // namespace kedge::api
