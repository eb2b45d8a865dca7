// shutdown.h: a machine that goes down takes its pods with it in good order: the least important first, each with its
// time, while a lock of logind's holds the machine up (KEP-2000, KEP-2712).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "node/kubelet_settings.h"
#include "node/machine/logind.h"
#include "node/pods/manager.h"

namespace kedge::node {

// Indices of `priorities`, for each of `phases` (lowest first) those of its range: from its priority up to the next
// phase's; what is below the first is the first's. Pure.
std::vector<std::vector<std::size_t>> by_phase(const std::vector<shutdown_grace>& phases,
                                               const std::vector<std::int64_t>& priorities);

class shutdown_keeper {
 public:
  struct parts {
    pod_manager& pods;
    const std::vector<shutdown_grace>& phases;
    std::string bus;  // the system bus's socket
    // From now on the node goes down, or doesn't any more.
    std::function<void(bool goes_down)> changed;
    // An event about the node.
    std::function<void(std::string reason, std::string message)> tell;
  };
  explicit shutdown_keeper(parts p) : parts_(std::move(p)) {}

  // Until dropped. Nothing without phases.
  task<void> run();

 private:
  task<result<void>> follow();
  task<void> end_pods();
  task<void> end_phase(const shutdown_grace& phase, std::vector<std::string> uids);

  parts parts_;
};

}  // namespace kedge::node
