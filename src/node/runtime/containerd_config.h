// containerd_config.h: the configuration that our containerd is started with, and what of it the machine decides.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "node/config.h"
#include "node/runtime/registries.h"

namespace kedge::node {

// A runtime beside runc that a RuntimeClass may name.
struct extra_runtime {
  std::string name, type, binary;
  friend bool operator==(const extra_runtime&, const extra_runtime&) = default;
};

struct containerd_settings {
  std::string binary;        // empty: none was found
  std::string spare_binary;  // K3s's, where there are pods that an older containerd than theirs would end
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
  bool device_ownership = false;  // --nonroot-devices
  bool selinux = false;           // --selinux
  std::string default_runtime = "runc";
  std::string shim;          // our shim's path; empty: there is none that can be used
  std::string shim_oci;      // the OCI runtime that it shall call; empty: as it finds it
  std::string shim_options;  // $D/agent/etc/containerd/kedge-runtime.toml, which tells it
  std::vector<extra_runtime> runtimes;
  std::string hosts_folder;       // $D/agent/etc/containerd/certs.d
  std::string parts_folder;       // $D/agent/etc/containerd/config.toml.d
  std::string template_file;      // $D/agent/etc/containerd/config.toml.tmpl
  std::string registries_file;    // registries.yaml
  bool registry_fallback = true;  // where there are mirrors, the registry itself is asked after them
  registries known_registries;    // read_registries() fills it
};

// Blocks a little (looks for programs, asks for file systems): through offload.
containerd_settings detect_containerd(const agent_config& config);

// What registries.yaml says; none when there is no such file. Blocking.
result<registries> read_registries(const std::string& file);

// The file's text (containerd's version 2 format, which 1.6, 1.7 and 2.x read). It has passwords in it.
std::string containerd_config(const containerd_settings& settings);
// The same through a user's template in Go's text/template, of which {{ template "base" . }} and comments are known;
// errc::unsupported names the line of anything else.
result<std::string> fill_template(std::string_view text, const std::string& base);

// Whether `crun --version` tells of one that is known to serve the containerd of that `containerd --version`: it costs
// a third of what runc does. Older ones refuse the configurations of a containerd that is newer.
bool is_usable_crun(std::string_view crun, std::string_view containerd);
// What the shim is told, TOML.
std::string shim_options(const containerd_settings& settings);

// The runtime's name for containers of our own shim, which a RuntimeClass may give as its handler.
inline constexpr std::string_view shim_runtime = "kedge";

// The runtimes that K3s finds below `root` (empty: this machine's), and those in PATH: crun, nvidia's, wasm shims.
// Blocking.
std::vector<extra_runtime> find_runtimes(const std::string& root, std::string_view path);

// An executable of that name in PATH or in the folders where packages put daemons; empty when there is none.
std::string find_program(std::string_view name, std::string_view path);

// Whether containers run in that state folder whose shims only containerd 1.7 and later can talk to; one before that
// would end them. Blocking.
bool has_newer_shims(const std::string& state_folder);
// Whether that is one of these, by what `containerd --version` says.
bool knows_newer_shims(std::string_view containerd);

// Whether /proc/self/status says that the process may lower an oom score (CAP_SYS_RESOURCE). Where it may not, runc
// fails to start any sandbox with the scores that containerd asks for, unless it is told to restrict them.
bool may_lower_oom_score(std::string_view proc_self_status);

}  // namespace kedge::node
