#include "cli/unread.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/strings.h"

namespace kedge::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t names_shown = 3;

struct row {
  audience who;           // whose start it concerns; a server with a node of its own is both
  std::string_view path;  // below the data directory, or absolute. A folder counts when it has something in it
  std::string_view reason;
};
constexpr std::string_view no_version_3 =
    "Kedge's configuration of containerd has version 2; config.toml.tmpl and config.toml.d go with it";
constexpr row rows[] = {
    {audience::agent, "agent/etc/containerd/config-v3.toml.tmpl", no_version_3},
    {audience::agent, "agent/etc/containerd/config-v3.toml.d", no_version_3},
    {audience::agent, "agent/etc/containerd/blockio_config.yaml", "Kedge does not tell containerd of it yet"},
    {audience::agent, "agent/etc/containerd/rdt_config.yaml", "Kedge does not tell containerd of it yet"},
    {audience::agent, "/var/lib/rancher/credentialprovider/config.yaml", "Kedge runs no credential plugins"},
};
struct variable_row {
  std::string_view name, reason;  // a name that ends with '_' stands for all that begin so
};
constexpr variable_row variables[] = {
    {"K3S_P2P_PORT", "nodes give each other images on the kubelet's port"},
    {"K3S_ROOTLESS_", "Kedge's agent needs root"},
    {"KINE_", "Kedge has no kine"},
};

// What is in the folder, or the file itself; hidden ones are other programs' notes.
std::vector<std::string> names_at(const fs::path& path) {
  std::vector<std::string> out;
  std::error_code failed;
  if (fs::is_directory(path, failed)) {
    for (auto i = fs::directory_iterator(path, failed); !failed && i != fs::directory_iterator(); i.increment(failed))
      if (auto name = i->path().filename().string(); !name.starts_with('.')) out.push_back(std::move(name));
    std::sort(out.begin(), out.end());
  } else if (fs::exists(path, failed)) {
    out.emplace_back();
  }
  return out;
}

std::string warning_of(const fs::path& path, const std::vector<std::string>& names, std::string_view reason) {
  if (names.front().empty()) return fmt::format("{} has no effect: {}", path.string(), reason);
  std::vector<std::string> shown(names.begin(),
                                 names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), names_shown)));
  if (names.size() > names_shown) shown.push_back("…");
  return fmt::format("what is in {} ({}) has no effect: {}", path.string(), join(shown, ", "), reason);
}

std::vector<std::string> unread_files(audience who, const server_options& options) {
  const bool serves = who == audience::server, has_node = !serves || !options.disable_agent;
  std::vector<std::string> out;
  auto look = [&](const fs::path& path, std::string_view reason) {
    if (auto names = names_at(path); !names.empty()) out.push_back(warning_of(path, names, reason));
  };
  const fs::path data(options.agent.data_dir);
  for (auto& r : rows)
    if (r.who == audience::server ? serves : has_node) look(data / r.path, r.reason);  // an absolute one stays as it is
  return out;
}

std::vector<std::string> unread_variables(const machine& here) {
  std::vector<std::string> out;
  auto is_of_flag = [](std::string_view name) {
    auto all = flag_table();
    return std::any_of(all.begin(), all.end(), [&](const flag& f) { return f.env == name; });
  };
  for (auto& [name, value] : here.environment) {
    if (value.empty()) continue;
    auto found = std::find_if(std::begin(variables), std::end(variables), [&](const variable_row& v) {
      return v.name.ends_with('_') ? name.starts_with(v.name) : name == v.name;
    });
    if (found != std::end(variables))
      out.push_back(fmt::format("{} has no effect: {}", name, found->reason));
    else if (name.starts_with("K3S_") && !is_of_flag(name) && name != "K3S_AGENT_HTTP_PROXY_ALLOWED" &&
             name != "K3S_P2P_ENABLE_LATEST")
      out.push_back(fmt::format("{} has no effect: Kedge knows no such setting", name));
  }
  return out;
}

}  // namespace

result<std::vector<std::string>> look_for_unread(audience who, const server_options& options, const machine& here) {
  auto out = unread_variables(here);
  for (auto& warning : unread_files(who, options)) out.push_back(std::move(warning));
  return out;
}

}  // namespace kedge::cli
