#include "node/runtime/containerd_config.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>

#include "base/strings.h"
#include "crypto/files.h"

namespace kedge::node {

namespace {

// A TOML basic string. Go's quoting is a subset of TOML's for all text that a path can hold but \x, which paths of ours
// don't have: control characters in paths are refused by the command line.
std::string toml(std::string_view text) { return quote(text); }

// overlayfs over an overlay (a container's own root) doesn't work: the kernel refuses it as an upper layer.
bool carries_overlay(std::string path) {
  constexpr long overlay_magic = 0x794c7630;
  struct statfs disk{};
  while (::statfs(path.c_str(), &disk) != 0) {  // the folder may be yet to be made: its parent then
    auto slash = path.find_last_of('/');
    if (slash == std::string::npos || slash == 0) return true;
    path.resize(slash);
  }
  return disk.f_type != overlay_magic;
}

}  // namespace

bool may_lower_oom_score(std::string_view status) {
  constexpr std::string_view key = "CapEff:";
  constexpr unsigned cap_sys_resource = 24;
  for (auto line : split(status, '\n')) {
    if (!line.starts_with(key)) continue;
    auto text = trim(line.substr(key.size()));
    std::uint64_t mask = 0;
    std::from_chars(text.data(), text.data() + text.size(), mask, 16);
    return mask >> cap_sys_resource & 1;
  }
  return false;
}

std::string find_program(std::string_view name, std::string_view path) {
  std::string all(path);
  all += ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (auto folder : split(all, ':')) {
    if (folder.empty()) continue;
    auto file = std::string(folder) + "/" + std::string(name);
    struct stat s{};
    if (::stat(file.c_str(), &s) == 0 && S_ISREG(s.st_mode) && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

containerd_settings detect_containerd(const agent_config& config) {
  containerd_settings s;
  auto* path = std::getenv("PATH");
  auto agent = config.agent_folder();
  // Beside ours first: an installation may bring its own.
  s.binary = config.containerd_binary.empty()
                 ? find_program("containerd", config.data_dir + "/bin:" + (path ? path : ""))
                 : config.containerd_binary;
  s.root_folder = agent + "/containerd";
  s.state_folder =
      config.runtime_state_folder.empty() ? default_runtime_state_folder(config.data_dir) : config.runtime_state_folder;
  s.socket = s.state_folder + "/containerd.sock";
  s.config_file = agent + "/etc/containerd/config.toml";
  s.log_file = s.root_folder + "/containerd.log";
  s.crictl_file = agent + "/etc/crictl.yaml";
  s.cni_bin_folder = config.cni_bin_folder.empty() ? config.plugin_folder() : config.cni_bin_folder;
  s.links_plugins = config.cni_bin_folder.empty();
  s.cni_conf_folder = config.cni_conf_folder();
  s.snapshotter = !config.snapshotter.empty()      ? config.snapshotter
                  : carries_overlay(s.root_folder) ? "overlayfs"
                                                   : "native";
  s.pause_image = config.pause_image;
  s.stream_port = config.is_default_data_dir() ? 10010 : 0;
  s.restrict_oom_score = !may_lower_oom_score(crypto::read_file("/proc/self/status").value_or(std::string()));
  return s;
}

std::string containerd_config(const containerd_settings& s) {
  // Plugins for file systems that we never choose cost start-up time and warnings.
  return fmt::format(
      R"(# Written at every start; changes made here are lost.
version = 2
root = {root}
state = {state}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = {socket}

[plugins."io.containerd.internal.v1.opt"]
  path = {root}

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "{stream_port}"
  enable_selinux = false
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  restrict_oom_score_adj = {restrict}
  sandbox_image = {pause}

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = {snapshotter}
  disable_snapshot_annotations = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = {cni_bin}
  conf_dir = {cni_conf}
)",
      fmt::arg("root", toml(s.root_folder)), fmt::arg("state", toml(s.state_folder)),
      fmt::arg("socket", toml(s.socket)), fmt::arg("stream_port", s.stream_port),
      fmt::arg("restrict", s.restrict_oom_score ? "true" : "false"), fmt::arg("pause", toml(s.pause_image)),
      fmt::arg("snapshotter", toml(s.snapshotter)), fmt::arg("cni_bin", toml(s.cni_bin_folder)),
      fmt::arg("cni_conf", toml(s.cni_conf_folder)));
}

}  // namespace kedge::node
