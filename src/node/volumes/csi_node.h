// csi_node.h: what a node tells the cluster of its CSI drivers, where the kubelet tells it: CSINode (id, topology keys,
// how many volumes), and the Node's labels and its annotation of ids.
#pragma once

#include <string>

#include "json/value.h"
#include "node/join/api_client.h"
#include "node/volumes/csi_messages.h"
#include "reactor/sync.h"

namespace kedge::node {

// --- pure

// The CSINode of a node without drivers.
json::value csi_node_object(std::string_view node_name, std::string_view node_uid);
// Whether it is this Node's, and not of an earlier one of its name.
bool is_csi_node_of(const json::value& csi_node, std::string_view node_name, std::string_view node_uid);
// Both: whether it is another then.
bool put_csi_driver(json::value& csi_node, std::string_view driver, const csi_node_info& info);
bool take_csi_driver(json::value& csi_node, std::string_view driver);
// The annotation of what drivers took over from the kubelet, as it has to be.
bool put_migrated_plugins(json::value& csi_node);

// Merge patches of the Node; null when nothing changes. errc::conflict: a label of the driver's topology has another
// value already.
result<json::value> node_patch_for(const json::value& node, std::string_view driver, const csi_node_info& info);
result<json::value> node_patch_without(const json::value& node, std::string_view driver);

// --- at the API

class csi_node {
 public:
  csi_node(api_client& api, std::string node_name) : api_(api), name_(std::move(node_name)) {}

  // Each until it is done, or has failed csi_node_tries times.
  task<result<void>> begin();  // the CSINode, with whatever drivers it has
  task<result<void>> install(std::string driver, csi_node_info info);
  task<result<void>> uninstall(std::string driver);

 private:
  template <typename Change>
  task<result<void>> change_csi_node(Change change);
  template <typename Patch>
  task<result<void>> patch_node(Patch patch);

  api_client& api_;
  const std::string name_;
  reactor::semaphore turn_{1};
};

}  // namespace kedge::node
