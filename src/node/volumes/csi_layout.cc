#include "node/volumes/csi_layout.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/strings.h"
#include "crypto/digest.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/pods/files.h"
#include "node/volumes/limits.h"

namespace kedge::node {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view data_file = "/vol_data.json", plugin = "/plugins/kubernetes.io/csi/";

std::string hash_of(std::string_view text) { return crypto::sha256_hex(as_bytes(text)); }

// EscapeQualifiedName
std::string escaped(std::string_view name) {
  std::string out(name);
  for (auto& c : out)
    if (c == '/') c = '~';
  return out;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code problem;
  for (auto it = fs::directory_iterator(folder, problem); !problem && it != fs::directory_iterator();
       it.increment(problem))
    out.push_back(it->path().filename().string());
  return out;
}

result<void> remove_if_there(const std::string& path, bool folder) {
  if ((folder ? ::rmdir(path.c_str()) : ::unlink(path.c_str())) == 0 || errno == ENOENT) return {};
  return fail(os_error(errno, "remove " + path));
}

}  // namespace

std::string csi_layout::global_mount(std::string_view driver, std::string_view handle) const {
  return fmt::format("{}{}{}/{}/globalmount", root, plugin, driver, hash_of(handle));
}
std::string csi_layout::published(std::string_view uid, std::string_view name) const {
  return fmt::format("{}/pods/{}/volumes/kubernetes.io~csi/{}/mount", root, uid, escaped(name));
}
std::string csi_layout::block_staged(std::string_view name) const {
  return fmt::format("{}{}volumeDevices/staging/{}", root, plugin, name);
}
std::string csi_layout::block_published(std::string_view name, std::string_view uid) const {
  return fmt::format("{}{}volumeDevices/publish/{}/{}", root, plugin, name, uid);
}
std::string csi_layout::block_folder(std::string_view name) const {
  return fmt::format("{}{}volumeDevices/{}", root, plugin, name);
}
std::string csi_layout::block_link(std::string_view uid, std::string_view name) const {
  return fmt::format("{}/pods/{}/volumeDevices/kubernetes.io~csi/{}", root, uid, name);
}

std::string attachment_name(std::string_view handle, std::string_view driver, std::string_view node) {
  return "csi-" + hash_of(fmt::format("{}{}{}", handle, driver, node));
}
std::string inline_handle(std::string_view uid, std::string_view name) {
  return "csi-" + hash_of(fmt::format("{}{}", uid, name));
}

// As Go writes a map: sorted, and with a line end.
std::string volume_data_text(const csi_volume_data& d) {
  json::object out;
  if (!d.is_global) out.set("attachmentID", d.attachment);
  out.set("driverName", d.driver);
  if (!d.is_global) {
    out.set("nodeName", d.node);
    out.set("specVolID", d.name);
  }
  out.set("volumeHandle", d.handle);
  if (!d.is_global && !d.is_block) out.set("volumeLifecycleMode", d.ephemeral ? "Ephemeral" : "Persistent");
  return json::write(std::move(out)) + "\n";
}

result<csi_volume_data> parse_volume_data(std::string_view text) {
  KEDGE_TRY(auto v, json::parse(text));
  csi_volume_data out{.driver = std::string(v["driverName"].as_string()),
                      .handle = std::string(v["volumeHandle"].as_string()),
                      .name = std::string(v["specVolID"].as_string()),
                      .node = std::string(v["nodeName"].as_string()),
                      .attachment = std::string(v["attachmentID"].as_string()),
                      .ephemeral = v["volumeLifecycleMode"].as_string() == "Ephemeral",
                      .is_global = !v["specVolID"].is_string()};
  if (out.driver.empty() || out.handle.empty()) return fail(errc::corrupt, "it names no driver or no volume");
  return out;
}

result<void> save_volume_data(const std::string& folder, const csi_volume_data& d) {
  KEDGE_CHECK(crypto::make_folder(folder, 0750));
  return crypto::write_file(folder + std::string(data_file), volume_data_text(d), {.mode = 0644, .sync = false});
}

result<csi_volume_data> load_volume_data(const std::string& folder) {
  auto path = folder + std::string(data_file);
  KEDGE_TRY(auto text, crypto::read_file(path, volume_data_bytes_max));
  auto out = parse_volume_data(text);
  if (!out) return fail(std::move(out).error().with(fmt::format("failed to parse volume data file [{}]: ", path)));
  return out;
}

result<void> remove_mount_folder(const std::string& path) {
  if (is_mount_point(path)) return fail(errc::unavailable, path + " is still mounted");
  struct stat about{};
  const bool folder = ::lstat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode);
  KEDGE_CHECK(remove_if_there(path, folder));
  auto above = path.substr(0, path.find_last_of('/'));
  KEDGE_CHECK(remove_if_there(above + std::string(data_file), false));
  return remove_if_there(above, true);
}

std::vector<found_csi_volume> find_pod_csi_volumes(const csi_layout& at, const std::string& uid) {
  std::vector<found_csi_volume> out;
  auto folder = fmt::format("{}/pods/{}", at.root, uid);
  for (auto& name : names_in(folder + "/volumes/kubernetes.io~csi")) {
    auto data = load_volume_data(fmt::format("{}/volumes/kubernetes.io~csi/{}", folder, name));
    if (!data) continue;
    if (data->name.empty()) data->name = name;
    out.push_back({*std::move(data), uid, false});
  }
  for (auto& name : names_in(folder + "/volumeDevices/kubernetes.io~csi"))
    if (auto data = load_volume_data(at.block_folder(name) + "/data")) {
      data->name = name;
      out.push_back({*std::move(data), uid, true});
    }
  return out;
}

std::vector<found_csi_volume> find_csi_volumes(const csi_layout& at) {
  std::vector<found_csi_volume> out;
  for (auto& uid : names_in(at.root + "/pods"))
    for (auto& one : find_pod_csi_volumes(at, uid)) out.push_back(std::move(one));
  const auto plugins = at.root + std::string(plugin);
  for (auto& driver : names_in(plugins)) {
    if (driver == "volumeDevices") continue;
    for (auto& hash : names_in(plugins + driver))
      if (auto data = load_volume_data(plugins + driver + "/" + hash)) out.push_back({*std::move(data), {}, false});
  }
  for (auto& name : names_in(plugins + "volumeDevices/staging"))
    if (auto data = load_volume_data(at.block_folder(name) + "/data")) {
      data->name = name;
      out.push_back({*std::move(data), {}, true});
    }
  return out;
}

}  // namespace kedge::node
