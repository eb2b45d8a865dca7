// uninstall.cc: `kedge stop --all` and `kedge uninstall`: what K3s's k3s-killall.sh and k3s-uninstall.sh do.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/strings.h"
#include "cli/commands/admin.h"
#include "cli/commands/commands.h"
#include "cli/commands/leftovers.h"
#include "cli/commands/service_units.h"
#include "cli/commands/services.h"
#include "cli/installation.h"

namespace kedge::cli::commands {
namespace {

namespace fs = std::filesystem;

constexpr flag data_dir_flag = {.name = "data-dir",
                                .short_name = 'd',
                                .env = "K3S_DATA_DIR",
                                .who = audience::both,
                                .help =
                                    "Folder for state, beside those that units and running servers name (default: "
                                    "/var/lib/rancher/k3s)"};
constexpr flag flags_of_stop[] = {
    data_dir_flag,
    {.name = "all",
     .who = audience::both,
     .kind = value_kind::boolean,
     .help = "Services, servers, agents, all pods, and what they have left in the system; data stay"}};
constexpr flag flags_of_uninstall[] = {
    data_dir_flag,
    {.name = "yes", .short_name = 'y', .who = audience::both, .kind = value_kind::boolean, .help = "Don't ask"},
    {.name = "keep-data",
     .who = audience::both,
     .kind = value_kind::boolean,
     .help = "Leave data directories, /var/lib/kubelet and /etc/rancher"}};

constexpr std::string_view script_names[] = {"kedge-killall.sh", "k3s-killall.sh",           "kedge-uninstall.sh",
                                             "k3s-uninstall.sh", "kedge-agent-uninstall.sh", "k3s-agent-uninstall.sh"};
constexpr const char* system_folders[] = {"/var/lib/kubelet", "/etc/rancher/k3s", "/etc/rancher/node"};
constexpr std::string_view link_names[] = {"k3s", "kubectl", "crictl", "ctr"};

result<void> as_root(const machine& here) {
  if (here.root) return {};
  return fail(errc::forbidden, "this takes root: sudo kedge …");
}

std::vector<std::string> data_dirs_of(const scanned& given, const machine& here, const running& now) {
  std::set<std::string> out{data_dir_of(given, here)};
  for (auto& unit : service_units())
    if (!unit.data_dir.empty()) out.insert(unit.data_dir);
  out.insert(now.data_dirs.begin(), now.data_dirs.end());
  std::set<std::string> plain;
  for (auto& folder : out) {
    std::error_code none;
    auto path = fs::absolute(folder, none).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    // A folder of the system, by somebody's mistake, is nobody's data.
    if (std::ranges::count(path.native(), '/') >= 2) plain.insert(path.string());
  }
  return {plain.begin(), plain.end()};
}

// A folder that holds more than state stays with the rest: `--data-dir /srv/apps` makes nobody the owner of what else
// lies there.
result<void> remove_state(const std::string& data_dir) {
  for (auto name : state_names) KEDGE_CHECK(remove_folder(fmt::format("{}/{}", data_dir, name)));
  KEDGE_CHECK(remove_k3s_programs(data_dir));
  std::error_code failed;
  if (!fs::exists(data_dir, failed)) return {};
  if (!fs::is_empty(data_dir, failed))
    fmt::print("{} stays: it holds more than Kedge's\n", data_dir);
  else if (!fs::remove(data_dir, failed) && failed && failed.value() != EBUSY)
    return fail(os_error(failed.value(), "remove " + data_dir));
  return {};
}

result<void> stop_everything(const std::vector<std::string>& data_dirs) {
  for (auto& unit : service_units()) {
    if (auto stopped = stop_unit(unit); !stopped) fmt::print(stderr, "{}\n", stopped.error().message);
    fmt::print("stopped {}\n", unit.name);
  }
  auto daemons = find_running().daemons;
  KEDGE_CHECK(end_orderly(daemons));
  if (!daemons.empty()) fmt::print("ended {} servers and agents\n", daemons.size());
  // Containers live on when their agent stops.
  auto shims = find_running().shims;
  KEDGE_CHECK(end_families(shims));
  if (!shims.empty()) fmt::print("ended {} pods' shims with their containers\n", shims.size());
  auto done = remove_leftovers(data_dirs);
  for (auto& what : done.what) fmt::print("removed {}\n", what);
  if (done.failures.empty()) return {};
  return fail(errc::io, join(done.failures, "; "));
}

result<void> stop(const scanned& given, const machine& here) {
  if (given.value("all") != "true")
    return fail(errc::invalid,
                "--all is missing: all services, pods and what they have left end; `systemctl stop` ends one");
  KEDGE_CHECK(as_root(here));
  return stop_everything(data_dirs_of(given, here, find_running()));
}

// Asked on a terminal; elsewhere --yes says it.
result<void> ask_whether(const std::vector<std::string>& folders) {
  fmt::print("This ends all pods and removes services, programs{}{}.\n", folders.empty() ? "" : " and ",
             join(folders, ", "));
  if (!::isatty(STDIN_FILENO)) return fail(errc::invalid, "nobody can be asked here: --yes says that it is meant");
  fmt::print("Type yes to go on: ");
  std::fflush(stdout);
  char line[16] = {};
  if (std::fgets(line, sizeof line, stdin) && trim(line) == "yes") return {};
  return fail(errc::cancelled, "nothing was done");
}

void remove_units() {
  bool of_package = false;
  for (auto& unit : service_units()) {
    remove_unit(unit);
    of_package |= unit.of_package;
    fmt::print("{} {}\n", unit.of_package ? "disabled" : "removed", unit.name);
  }
  if (of_package) fmt::print("the package stays: `apt-get purge kedge` removes it\n");
}

// A machine of another C library had been lent the loader of a bundle's programs (install.sh): links at the places that
// the bundle's manifest names.
void take_back_loader(const installation& own) {
  std::ifstream manifest(own.bundles + "/current/manifest");
  for (std::string line; std::getline(manifest, line);) {
    if (!line.starts_with("interpreter: ") && !line.starts_with("libraries: ")) continue;
    const fs::path link = line.substr(line.find(' ') + 1);
    std::error_code failed;
    const auto target = fs::read_symlink(link, failed);
    if (!failed && target.string().starts_with(own.bundles + "/")) fs::remove(link, failed);
  }
}

// Where the installer has put it: there are its scripts, too. A program that runs from anywhere else stays.
result<void> remove_programs() {
  std::error_code failed;
  const auto self = fs::read_symlink("/proc/self/exe", failed);
  if (failed || self.filename() != "kedge") return {};
  const auto own = installation_of(self.string());
  const fs::path folder = own.scripts;
  const auto installed = [&](std::string_view name) { return fs::exists(fs::symlink_status(folder / name, failed)); };
  if (std::ranges::none_of(script_names, installed)) return {};
  for (auto& entry : fs::directory_iterator(folder, failed)) {
    const auto name = entry.path().filename().string();
    const bool script = (name.starts_with("kedge") || name.starts_with("k3s")) &&
                        (name.ends_with("-uninstall.sh") || name.ends_with("-killall.sh"));
    const bool link = std::ranges::find(link_names, name) != std::end(link_names) && entry.is_symlink(failed) &&
                      fs::read_symlink(entry.path(), failed).filename() == "kedge";
    if (script || link) fs::remove(entry.path(), failed);
  }
  for (auto* name : {"containerd-shim-kedge-v2", "kedge-cni", "kedge"}) {
    fs::remove(folder / name, failed);
    if (failed) return fail(os_error(failed.value(), "remove " + (folder / name).string()));
  }
  fmt::print("removed {}\n", self.string());
  if (!own.bundles.empty()) take_back_loader(own);
  return own.bundles.empty() ? result<void>() : remove_folder(own.bundles);
}

result<void> uninstall(const scanned& given, const machine& here) {
  KEDGE_CHECK(as_root(here));
  const auto data_dirs = data_dirs_of(given, here, find_running());
  const bool with_data = given.value("keep-data") != "true";
  std::vector<std::string> folders;
  if (with_data) {
    folders = data_dirs;
    folders.insert(folders.end(), std::begin(system_folders), std::end(system_folders));
  }
  if (given.value("yes") != "true") KEDGE_CHECK(ask_whether(folders));
  KEDGE_CHECK(stop_everything(data_dirs));
  remove_units();
  if (with_data) {
    for (auto& folder : data_dirs) KEDGE_CHECK(remove_state(folder));
    for (auto* folder : system_folders) KEDGE_CHECK(remove_folder(folder));
    std::error_code in_use;  // what others have put there stays
    for (auto* parent : {"/etc/rancher", "/var/lib/rancher"}) fs::remove(parent, in_use);
  }
  return remove_programs();
}

int run(std::string_view name, std::span<const flag> flags, const invocation& call,
        result<void> (*work)(const scanned&, const machine&)) {
  const auto given = scan_flags_only(flags, call.arguments);
  if (!given) return report(name, given.error());
  const auto done = work(*given, call.here);
  return done ? 0 : report(name, done.error());
}

}  // namespace

std::span<const flag> stop_flags() { return flags_of_stop; }
std::span<const flag> uninstall_flags() { return flags_of_uninstall; }
int stop_all(const invocation& call) { return run("stop", flags_of_stop, call, stop); }
int uninstall_all(const invocation& call) { return run("uninstall", flags_of_uninstall, call, uninstall); }

}  // namespace kedge::cli::commands
