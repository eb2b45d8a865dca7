// local_volumes.h: the folders of volumes on this node's disk, which the cluster's provisioner of local paths has made
// and removed here (control/volumes/local_path.cc), where K3s's starts a pod for each. Blocking, through offload.
#pragma once

#include <string>

#include "base/error.h"

namespace kedge::node {

// errc::invalid: base isn't absolute, or is /; folder leads out of it.
struct local_volume {
  std::string base;    // where volumes lie: /var/lib/rancher/k3s/storage
  std::string folder;  // below it, one name or more: pvc-0cc1…_default_data
  static result<local_volume> make(std::string base, std::string folder);
};

// The folder, for all to write in; what it lies in is root's alone. One that is there stays as it is. Never through a
// link below the base.
result<void> make_local_volume(const local_volume& v);
// The folder with all that is in it; that it isn't there is as good. Never through a link, and never while anything is
// mounted in it (errc::unavailable).
result<void> remove_local_volume(const local_volume& v);

}  // namespace kedge::node
