// node_keepers.h: what a node does for its pods as a whole, beside their workers: control groups above them, a good
// order when the machine goes down, word of a machine that is out of memory. One object, so that the agent starts all
// of it at once; none of it in a simulated world, which has neither groups nor a bus.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "node/pods/pod_groups.h"
#include "node/pods/shutdown.h"
#include "reactor/scope.h"

namespace kedge::node {

class node_keepers {
 public:
  struct parts {
    pod_manager& pods;
    const kubelet_settings& settings;
    pod_settings& of_pods;  // is told that the machine goes down
    std::function<system_info()> machine;
    std::function<void()> look;  // the Node has news
    // An event about the node.
    std::function<void(bool warning, std::string reason, std::string message)> tell;
  };
  explicit node_keepers(parts p);

  // Until dropped. Once.
  task<void> run();
  // Before a sandbox of this pod is made.
  task<result<void>> prepare(json::value pod);

 private:
  task<void> tell_oom_kills();

  parts parts_;
  std::optional<pod_groups> groups_;  // none in a simulated world
  shutdown_keeper shutdown_;
  reactor::scope tasks_;  // last: ends first
};

}  // namespace kedge::node
