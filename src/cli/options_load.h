// options_load.h: from everything that was said to the options of options.h.
//
//   config.yaml + drop-ins ─┐
//   K3S_* environment ──────┼─▶ assign() in this order, the later wins (lists: the file's items, then the command
//   line's) command line ───────────┘            │
//                                        ▼
//                       defaults of this machine, token files, arguments of components, rules between flags
//
// K3s itself lets a configuration file beat the environment; Kedge does not: what is set for one run beats what lies on
// disk.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/flags.h"
#include "cli/machine.h"
#include "cli/options.h"

namespace kedge::cli {

struct loaded_options {
  server_options options;             // for an agent, only `options.agent` is of use
  std::vector<std::string> warnings;  // for the log, once it is configured
  bool help = false;                  // --help was asked for; nothing else holds then
};

// `arguments` are what follows the command word. Reads the configuration and token files.
result<loaded_options> load_options(audience who, std::span<const std::string> arguments, const machine& here);

// All that is wrong with them at once, in words; no problems: a start would take them. Reads the same files, and starts
// nothing.
struct verdict {
  std::vector<std::string> problems, warnings;
};
verdict judge_options(audience who, std::span<const std::string> arguments, const machine& here);

// key=value arguments as the API server's settings; unknown keys give a warning. Also `key+=value`, which adds to a
// list.
result<api_server_arguments> read_api_server_arguments(std::span<const std::string> arguments,
                                                       std::vector<std::string>& warnings);
// kube-proxy's settings. One that it doesn't have is an error, one that means nothing here a warning.
result<node::kube_proxy_settings> read_kube_proxy_arguments(std::span<const std::string> arguments,
                                                            std::vector<std::string>& warnings);
// The kubelet's settings: of the arguments, the files that they name, and those in <data_dir>/agent/etc/kubelet.conf.d.
// One that the kubelet doesn't have is an error, one that means nothing here a warning.
result<node::kubelet_settings> read_kubelet_arguments(std::span<const std::string> arguments,
                                                      const std::string& data_dir, std::vector<std::string>& warnings);

// The same for the controllers' settings. An argument that kube-controller-manager doesn't have is an error, one that
// means nothing here a warning.
result<control::settings> read_controller_manager_arguments(std::span<const std::string> arguments,
                                                            std::vector<std::string>& warnings);

// The same for the scheduler; reads the file that `config` names. An argument that kube-scheduler doesn't have, and a
// file that can't be used, are errors.
result<std::shared_ptr<const control::scheduler::configuration>> read_scheduler_arguments(
    std::span<const std::string> arguments, std::vector<std::string>& warnings);

// What the Helm controller is told: --helm-controller-arg over what stands in `into` already, and the environment's
// proxies.
result<void> read_helm_arguments(std::span<const std::string> arguments, const machine& here, control::settings& into,
                                 std::vector<std::string>& warnings);

// Keys that a controller may work on at once: each may have as many writes under way as control/limits.h says.
inline constexpr unsigned control_workers_max = 1000;

}  // namespace kedge::cli
