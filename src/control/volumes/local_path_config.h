// local_path_config.h: where volumes lie on the nodes' disks: config.json of ConfigMap kube-system/local-path-config,
// as K3s's local-path-provisioner reads it.
//
//   {"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": ["/data"]}, …]}
//   {"sharedFileSystemPath": "/mnt/nfs"}     the same folder on every node
//   {"storageClassConfigs": {"class": {one of the two above}, …}}
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::control {

struct local_places {
  std::map<std::string, std::vector<std::string>, std::less<>> by_node;
  std::string shared;  // instead of them
  // The paths of a node, at least one; errors are the provisioner's.
  result<std::vector<std::string>> on(std::string_view node) const;
};

class local_path_config {
 public:
  static result<local_path_config> parse(std::string_view text);
  // One path for all nodes.
  static local_path_config of(std::string path);

  // Of a storage class.
  result<local_places> places(std::string_view storage_class) const;
  // The configured path that this one is below, the longest; empty: none.
  std::string base_of(std::string_view path) const;

 private:
  local_places all_;
  std::map<std::string, local_places, std::less<>> by_class_;
};

}  // namespace kedge::control
