// programs.h: other programs run in Kedge's place, with the environment that points them at this machine.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/machine.h"

namespace kedge::cli::commands {

struct program_plan {
  std::string path;                                            // of the executable
  std::vector<std::string> arguments;                          // without argv[0]
  std::vector<std::pair<std::string, std::string>> additions;  // to the environment; what the user has set stays
};

// Where the kubeconfig lies: $KUBECONFIG and --kubeconfig are kubectl's own and win; then --data-dir's admin
// kubeconfig, K3S_KUBECONFIG_OUTPUT, /etc/rancher/k3s/k3s.yaml, ~/.kube/k3s.yaml. errc::forbidden when it is there but
// not readable.
result<program_plan> plan_kubectl(std::vector<std::string> arguments, const machine& here);
result<program_plan> plan_crictl(std::vector<std::string> arguments, const machine& here);
result<program_plan> plan_ctr(std::vector<std::string> arguments, const machine& here);

// The first executable of that name in PATH that is not Kedge itself: a link kubectl → kedge would start itself for
// ever.
result<std::string> find_program(const std::string& name, const machine& here);

}  // namespace kedge::cli::commands
