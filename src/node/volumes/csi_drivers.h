// csi_drivers.h: the CSI drivers that are registered with this node.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "node/plugins/plugin_watcher.h"
#include "node/volumes/csi_driver.h"
#include "node/volumes/csi_node.h"

namespace kedge::node {

class csi_drivers final : public plugin_handler {
 public:
  csi_drivers(csi_node& node, reactor::network* network) : node_(node), network_(network) {}

  std::string_view type() const override { return "CSIPlugin"; }
  result<void> check(const plugin_info& plugin) const override;
  task<result<void>> add(plugin_info plugin) override;
  task<void> remove(plugin_info plugin) override;

  // errc::unavailable, in the kubelet's words, when it isn't registered. Shared, since it may go while it is asked.
  result<std::shared_ptr<csi_driver>> find(std::string_view name) const;
  // Until the cluster knows the node's CSINode, with all drivers: at a start, and when the Node is another.
  task<void> tell_all();

 private:
  struct entry {
    std::shared_ptr<csi_driver> driver;
    std::string endpoint, version;
  };
  csi_node& node_;
  reactor::network* network_;
  std::map<std::string, entry, std::less<>> drivers_;
};

// The highest version 1.x or 0.x among them, as "1.13.0"; errc::unsupported: there is none.
result<std::string> highest_csi_version(const std::vector<std::string>& versions);

}  // namespace kedge::node
