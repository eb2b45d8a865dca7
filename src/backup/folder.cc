#include "backup/folder.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "backup/etcd_snapshot.h"
#include "backup/limits.h"
#include "backup/reader.h"
#include "backup/zip.h"
#include "base/strings.h"
#include "crypto/files.h"

namespace kedge::backup {

namespace fs = std::filesystem;

namespace {
constexpr std::size_t name_bytes_max = 200;  // of the base: a file's name may have 255
constexpr std::string_view compressed_by_k3s = ".zip";

fs::path metadata_of(const std::string& folder, std::string_view name) {
  return fs::path(folder).parent_path() / ".metadata" / name;
}

// What is said of it goes first: a file of that name may come again.
result<void> remove_file(const std::string& folder, const std::string& name) {
  std::error_code ignored;
  fs::remove(metadata_of(folder, name), ignored);
  auto path = folder + "/" + name;
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return fail(os_error(errno, "remove " + path));
  return {};
}
}  // namespace

std::string file_name(const std::string& base, const std::string& node, wall_time now) {
  auto seconds = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  return base + "-" + node + "-" + std::to_string(seconds);
}

bool is_of(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  auto time = name.substr(prefix.size());
  if (time.ends_with(compressed_by_k3s)) time.remove_suffix(compressed_by_k3s.size());
  return parse_uint(time).has_value();
}

result<void> check_name(const std::string& name) {
  bool bad = name.empty() || name.size() > name_bytes_max || name.front() == '.' ||
             name.find('/') != std::string::npos || name.find('\0') != std::string::npos;
  if (bad) return fail(errc::invalid, quote(name) + " can't be a snapshot's name: no path, no dot in front");
  return {};
}

result<std::vector<listed>> list(const std::string& folder) {
  std::vector<listed> out;
  std::error_code wrong;
  fs::directory_iterator files(folder, wrong);
  if (wrong == std::errc::no_such_file_or_directory) return out;
  if (wrong) return fail(os_error(wrong.value(), "read " + folder));
  for (std::size_t seen = 0; files != fs::directory_iterator() && seen < folder_files_max;
       files.increment(wrong), ++seen) {
    if (wrong) return fail(os_error(wrong.value(), "read " + folder));
    auto path = files->path().string();
    if (path.ends_with(".part") || !files->is_regular_file(wrong)) continue;
    listed l{.name = files->path().filename().string(),
             .path = path,
             .node = {},
             .token_id = {},
             .metadata = {},
             .problem = {}};
    auto in = reader::open(path);
    const bool of_etcd = !in && in.error().code == errc::invalid && (is_zip(path) || is_etcd_snapshot(path));
    if (!in && in.error().code == errc::invalid && !of_etcd) continue;
    if (of_etcd) {
      l.bytes = files->file_size(wrong);
      l.created = etcd_snapshot_time(path);
    } else if (in) {
      l.bytes = in->bytes();
      l.created = in->about().created;
      l.objects = in->about().objects;
      l.revision = in->about().revision;
      l.node = in->about().node;
      l.token_id = in->about().token_id;
      if (!in->has_end()) l.problem = "it is cut off";
    } else {
      l.bytes = files->file_size(wrong);
      l.problem = in.error().message;
    }
    if (auto said = crypto::read_file(metadata_of(folder, l.name).string(), metadata_bytes_max))
      l.metadata = *std::move(said);
    out.push_back(std::move(l));
  }
  std::ranges::sort(out, [](const listed& a, const listed& b) {
    return a.created != b.created ? a.created > b.created : a.name > b.name;
  });
  return out;
}

result<std::vector<std::string>> prune(const std::string& folder, const std::string& prefix, std::size_t keep) {
  std::vector<std::string> gone;
  if (keep == 0) return gone;
  KEDGE_TRY(auto all, list(folder));
  std::size_t kept = 0;
  for (auto& l : all) {
    if (!is_of(l.name, prefix)) continue;
    // One that is damaged keeps no place of one that is whole.
    if (l.problem.empty() && ++kept <= keep) continue;
    if (!l.problem.empty() && kept < keep) continue;
    KEDGE_CHECK(remove_file(folder, l.name));
    gone.push_back(l.name);
  }
  return gone;
}

result<std::vector<std::string>> remove(const std::string& folder, const std::vector<std::string>& names) {
  std::vector<std::string> gone;
  for (auto& name : names) {
    KEDGE_CHECK(check_name(name));
    auto path = folder + "/" + name;
    auto in = reader::open(path);
    if (!in && in.error().code == errc::not_found) continue;
    if (!in && in.error().code == errc::invalid && !is_zip(path) && !is_etcd_snapshot(path)) continue;
    KEDGE_CHECK(remove_file(folder, name));
    gone.push_back(name);
  }
  return gone;
}

result<void> write_metadata(const std::string& folder, const std::string& name, std::string_view json) {
  auto path = metadata_of(folder, name);
  KEDGE_CHECK(crypto::make_folder(path.parent_path().string()));
  return crypto::write_file(path.string(), json);
}

void clean(const std::string& folder) {
  std::error_code wrong;
  for (fs::directory_iterator files(folder, wrong); !wrong && files != fs::directory_iterator(); files.increment(wrong))
    if (files->path().extension() == ".part") ::unlink(files->path().c_str());
}

}  // namespace kedge::backup
