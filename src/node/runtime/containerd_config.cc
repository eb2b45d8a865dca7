#include "node/runtime/containerd_config.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"

namespace kedge::node {

namespace {

constexpr std::size_t registries_bytes_max = 1024 * 1024;
constexpr std::size_t bootstrap_bytes_max = 64 * 1024;  // a shim's address

bool is_program(const std::string& file) {
  struct stat s{};
  return ::stat(file.c_str(), &s) == 0 && S_ISREG(s.st_mode) && ::access(file.c_str(), X_OK) == 0;
}

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
    if (is_program(file)) return file;
  }
  return {};
}

bool has_newer_shims(const std::string& state_folder) {
  constexpr int known_to_all = 2;  // of shims' protocol; containerd before 1.7 knows no other
  std::error_code ignored;
  for (auto& bundle :
       std::filesystem::directory_iterator(state_folder + "/io.containerd.runtime.v2.task/k8s.io", ignored)) {
    auto text = crypto::read_file(bundle.path().string() + "/bootstrap.json", bootstrap_bytes_max);
    if (!text) continue;
    if (auto said = json::parse(*text); said && (*said)["version"].as_integer() > known_to_all) return true;
  }
  return false;
}

std::vector<extra_runtime> find_runtimes(const std::string& root, std::string_view path) {
  constexpr const char* runc = "io.containerd.runc.v2";
  struct candidate {
    const char *name, *type, *binary;
    std::vector<const char*> folders;  // the first that has it
  };
  static const std::vector<const char*> of_packages = {"/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"},
                                        of_nvidia = {"/usr/local/nvidia/toolkit", "/usr/bin"},
                                        of_wasm = {"/opt/kwasm/bin", "/usr/bin", "/usr/sbin"};
  static const candidate all[] = {
      {"crun", runc, "crun", of_packages},
      {"lunatic", "io.containerd.lunatic.v2", "containerd-shim-lunatic-v1", of_wasm},
      {"nvidia", runc, "nvidia-container-runtime", of_nvidia},
      {"nvidia-experimental", runc, "nvidia-container-runtime-experimental", of_nvidia},
      {"slight", "io.containerd.slight.v2", "containerd-shim-slight-v1", of_wasm},
      {"spin", "io.containerd.spin.v2", "containerd-shim-spin-v2", of_wasm},
      {"wasmedge", "io.containerd.wasmedge.v2", "containerd-shim-wasmedge-v1", of_wasm},
      {"wasmer", "io.containerd.wasmer.v2", "containerd-shim-wasmer-v1", of_wasm},
      {"wasmtime", "io.containerd.wasmtime.v2", "containerd-shim-wasmtime-v1", of_wasm},
      {"wws", "io.containerd.wws.v2", "containerd-shim-wws-v1", of_wasm},
  };
  std::vector<extra_runtime> out;
  for (auto& c : all) {
    std::vector<std::string_view> folders(c.folders.begin(), c.folders.end());
    const auto searched = split(path, ':');
    folders.insert(folders.end(), searched.begin(), searched.end());
    for (auto folder : folders) {
      auto file = std::string(folder) + "/" + c.binary;
      struct stat s{};
      if (folder.empty() || ::stat((root + file).c_str(), &s) != 0 || S_ISDIR(s.st_mode)) continue;
      out.push_back({c.name, c.type, std::move(file)});
      break;
    }
  }
  return out;
}

result<registries> read_registries(const std::string& file) {
  auto text = crypto::read_file(file, registries_bytes_max);
  if (!text && text.error().code == errc::not_found) return registries{};
  auto bad = [&](const error& e) { return fail(e.code, file + ": " + e.message); };
  if (!text) return bad(text.error());
  auto parsed = parse_registries(*text);
  if (!parsed) return bad(parsed.error());
  return parsed;
}

result<std::string> fill_template(std::string_view text, const std::string& base) {
  std::string out;
  for (auto all = text; !text.empty();) {
    auto begin = text.find("{{");
    out += text.substr(0, begin);
    if (begin == std::string_view::npos) break;
    auto line = 1 + std::count(all.begin(), all.begin() + (text.data() + begin - all.data()), '\n');
    text.remove_prefix(begin + 2);
    auto refuse = [&](std::string_view what) {
      return fail(errc::unsupported,
                  fmt::format("line {}: {}; only {{{{ template \"base\" . }}}} is known", line, what));
    };
    auto end = text.find("}}");
    if (end == std::string_view::npos) return refuse("an action without an end");
    auto action = text.substr(0, end);
    text.remove_prefix(end + 2);
    // "{{- " and " -}}" take the white space beside them away.
    if (action.starts_with("- ")) {
      action.remove_prefix(2);
      while (!out.empty() && std::string_view(" \t\r\n").contains(out.back())) out.pop_back();
    }
    if (action.ends_with(" -")) {
      action.remove_suffix(2);
      while (!text.empty() && std::string_view(" \t\r\n").contains(text.front())) text.remove_prefix(1);
    }
    action = trim(action);
    if (action.starts_with("/*") && action.ends_with("*/")) continue;
    if (action != "template \"base\" ." && action != "template \"base\"")
      return refuse(fmt::format("the action {}", quote(action)));
    out += base;
  }
  return out;
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
  // What K3s unpacked keeps pods that it left until the last of those that a newer containerd began has gone, or the
  // machine starts again.
  if (auto of_k3s = config.data_dir + "/data/current/bin/containerd";
      config.containerd_binary.empty() && is_program(of_k3s)) {
    if (s.binary.empty())
      s.binary = std::move(of_k3s);
    else if (has_newer_shims(s.state_folder))
      s.spare_binary = std::move(of_k3s);
  }
  s.socket = s.state_folder + "/containerd.sock";
  s.config_file = agent + "/etc/containerd/config.toml";
  s.log_file = s.root_folder + "/containerd.log";
  s.shim_options = agent + "/etc/containerd/kedge-runtime.toml";
  s.crictl_file = agent + "/etc/crictl.yaml";
  s.cni_bin_folder = config.cni_bin_folder.empty() ? config.plugin_folder() : config.cni_bin_folder;
  s.links_plugins = config.cni_bin_folder.empty();
  s.cni_conf_folder = config.cni_conf_folder();
  s.snapshotter = !config.snapshotter.empty()      ? config.snapshotter
                  : carries_overlay(s.root_folder) ? "overlayfs"
                                                   : "native";
  s.pause_image = config.pause_image;
  s.hosts_folder = agent + "/etc/containerd/certs.d";
  s.parts_folder = agent + "/etc/containerd/config.toml.d";
  s.template_file = agent + "/etc/containerd/config.toml.tmpl";
  s.registries_file = config.registries_file;
  s.registry_fallback = config.registry_fallback;
  s.device_ownership = config.nonroot_devices;
  s.selinux = config.selinux;
  s.shim = find_program("containerd-shim-kedge-v2", path ? path : "");
  if (!s.shim.empty()) s.default_runtime = shim_runtime;
  if (!config.default_runtime.empty()) s.default_runtime = config.default_runtime;
  s.runtimes = find_runtimes({}, path ? path : "");
  s.stream_port = config.is_default_data_dir() ? 10010 : 0;
  s.restrict_oom_score = !may_lower_oom_score(crypto::read_file("/proc/self/status").value_or(std::string()));
  return s;
}

namespace {

std::string runtimes_text(const containerd_settings& s) {
  std::string out;
  auto add = [&](std::string_view name, std::string_view type, std::string_view binary, std::string_view shim = {}) {
    auto table = fmt::format("plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{}", toml(name));
    out += fmt::format("\n[{}]\n  runtime_type = {}\n", table, toml(type));
    if (!shim.empty()) out += fmt::format("  runtime_path = {}\n", toml(shim));
    const bool is_runc = type == "io.containerd.runc.v2";
    if (!is_runc && binary.empty()) return;
    out += fmt::format("\n[{}.options]\n", table);
    if (!binary.empty()) out += fmt::format("  BinaryName = {}\n", toml(binary));
    if (is_runc) out += "  SystemdCgroup = false\n";
  };
  add("runc", "io.containerd.runc.v2", {});
  // With its path, which is kept beside each pod: another containerd that takes over, K3s's, needn't find it by name.
  if (!s.shim.empty()) add(shim_runtime, "io.containerd.kedge.v2", {}, s.shim);
  // A file: containerd 1.6 hands nothing else through to a shim that it doesn't know.
  if (!s.shim.empty() && !s.shim_oci.empty())
    out += fmt::format("\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{}.options]\n  ConfigPath = {}\n",
                       toml(shim_runtime), toml(s.shim_options));
  for (auto& r : s.runtimes) add(r.name, r.type, r.binary);
  return out;
}

std::string credentials_text(const registries& all) {
  std::string out;
  for (auto& [host, config] : all.configs) {
    if (!config.credentials) continue;
    auto& c = *config.credentials;
    out += fmt::format("\n[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.{}.auth]\n", toml(host));
    auto add = [&](std::string_view name, const std::string& text) {
      if (!text.empty()) out += fmt::format("  {} = {}\n", name, toml(text));
    };
    add("username", c.username);
    add("password", c.password);
    add("auth", c.auth);
    add("identitytoken", c.identity_token);
  }
  return out;
}

using release = std::pair<std::uint64_t, std::uint64_t>;  // major and minor

std::optional<release> release_of(std::string_view version) {
  if (version.starts_with('v')) version.remove_prefix(1);
  auto parts = split(version, '.');
  if (parts.size() < 2) return std::nullopt;
  auto digits = parts[1].substr(0, parts[1].find_first_not_of("0123456789"));
  auto major = parse_uint(parts[0]), minor = parse_uint(digits);
  if (!major || !minor) return std::nullopt;
  return release{*major, *minor};
}

// Of a containerd: what it says is "containerd", where its source is, version, commit.
std::optional<release> release_of_containerd(std::string_view text) {
  auto said = split(text, ' ');
  return said.size() > 2 ? release_of(said[2]) : std::nullopt;
}

}  // namespace

bool knows_newer_shims(std::string_view containerd) {
  auto theirs = release_of_containerd(containerd);
  return theirs && *theirs >= release{1, 7};
}

bool is_usable_crun(std::string_view crun, std::string_view containerd) {
  // containerd 1.7 begins to write configurations of OCI's version 1.1, and crun 1.14.3 to take others than of 1.0.
  constexpr release least{1, 8}, takes_all{1, 15}, writes_newer{1, 7};
  constexpr std::string_view words = "crun version ";
  auto at = crun.find(words);
  if (at == std::string_view::npos) return false;
  auto ours = release_of(crun.substr(at + words.size()));
  if (!ours || *ours < least) return false;
  if (*ours >= takes_all) return true;
  auto theirs = release_of_containerd(containerd);
  return theirs && *theirs < writes_newer;
}

std::string shim_options(const containerd_settings& s) {
  return s.shim_oci.empty() ? std::string() : "BinaryName = " + toml(s.shim_oci) + "\n";
}

std::string containerd_config(const containerd_settings& s) {
  // Plugins for file systems that we never choose cost start-up time and warnings.
  auto unused = [&](std::string_view snapshotter) {
    return s.snapshotter == snapshotter ? std::string()
                                        : fmt::format("\"io.containerd.snapshotter.v1.{}\", ", snapshotter);
  };
  return fmt::format(
      R"(# Written at every start; changes made here are lost: config.toml.tmpl and config.toml.d beside it are for them.
version = 2
imports = [{parts}]
root = {root}
state = {state}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", {unused}
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = {socket}

[plugins."io.containerd.internal.v1.opt"]
  path = {root}

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "{stream_port}"
  enable_selinux = {selinux}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  device_ownership_from_security_context = {devices}
  enable_cdi = true
  restrict_oom_score_adj = {restrict}
  sandbox_image = {pause}

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = {snapshotter}
  disable_snapshot_annotations = true
  default_runtime_name = {runtime}
{runtimes}
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = {cni_bin}
  conf_dir = {cni_conf}

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = {hosts}
{credentials})",
      fmt::arg("parts", toml(s.parts_folder + "/*.toml")), fmt::arg("root", toml(s.root_folder)),
      fmt::arg("state", toml(s.state_folder)),
      fmt::arg("unused", unused("btrfs") + unused("devmapper") + unused("zfs")), fmt::arg("socket", toml(s.socket)),
      fmt::arg("stream_port", s.stream_port), fmt::arg("devices", s.device_ownership), fmt::arg("selinux", s.selinux),
      fmt::arg("restrict", s.restrict_oom_score), fmt::arg("pause", toml(s.pause_image)),
      fmt::arg("snapshotter", toml(s.snapshotter)), fmt::arg("runtime", toml(s.default_runtime)),
      fmt::arg("runtimes", runtimes_text(s)), fmt::arg("cni_bin", toml(s.cni_bin_folder)),
      fmt::arg("cni_conf", toml(s.cni_conf_folder)), fmt::arg("hosts", toml(s.hosts_folder)),
      fmt::arg("credentials", credentials_text(s.known_registries)));
}

}  // namespace kedge::node
