// containerd_config.h: the configuration that our containerd is started with, and what of it the machine decides.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "node/config.h"

namespace kedge::node {

struct containerd_settings {
  std::string binary;        // empty: none was found
  std::string root_folder;   // $D/agent/containerd
  std::string state_folder;  // /run/k3s/containerd
  std::string socket;        // in it
  std::string config_file;   // $D/agent/etc/containerd/config.toml
  std::string log_file;
  std::string crictl_file;  // $D/agent/etc/crictl.yaml
  std::string cni_bin_folder, cni_conf_folder;
  bool links_plugins = false;  // cni_bin_folder is ours to fill
  std::string snapshotter;
  std::string pause_image;
  unsigned stream_port = 10010;  // exec, attach, port-forward; 0: any
  bool restrict_oom_score = false;
};

// Blocks a little (looks for programs, asks for file systems): through offload.
containerd_settings detect_containerd(const agent_config& config);

// The file's text (containerd's version 2 format, which 1.6, 1.7 and 2.x read).
std::string containerd_config(const containerd_settings& settings);

// An executable of that name in PATH or in the folders where packages put daemons; empty when there is none.
std::string find_program(std::string_view name, std::string_view path);

// Whether /proc/self/status says that the process may lower an oom score (CAP_SYS_RESOURCE). Where it may not, runc
// fails to start any sandbox with the scores that containerd asks for, unless it is told to restrict them.
bool may_lower_oom_score(std::string_view proc_self_status);

}  // namespace kedge::node
