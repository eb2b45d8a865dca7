#include "backup/folder.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "backup/limits.h"
#include "backup/reader.h"
#include "base/strings.h"

namespace kedge::backup {

namespace fs = std::filesystem;

namespace {
constexpr std::size_t name_bytes_max = 200;  // of the base: a file's name may have 255
constexpr std::string_view compressed_by_k3s = ".zip";
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
    listed l{.name = files->path().filename().string(), .path = path, .node = {}, .problem = {}};
    auto in = reader::open(path);
    if (!in && in.error().code == errc::invalid) continue;
    if (in) {
      l.bytes = in->bytes();
      l.created = in->about().created;
      l.objects = in->about().objects;
      l.revision = in->about().revision;
      l.node = in->about().node;
      if (!in->has_end()) l.problem = "it is cut off";
    } else {
      l.bytes = files->file_size(wrong);
      l.problem = in.error().message;
    }
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
    if (::unlink(l.path.c_str()) < 0 && errno != ENOENT) return fail(os_error(errno, "remove " + l.path));
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
    if (!in && (in.error().code == errc::not_found || in.error().code == errc::invalid)) continue;
    if (::unlink(path.c_str()) < 0) return fail(os_error(errno, "remove " + path));
    gone.push_back(name);
  }
  return gone;
}

void clean(const std::string& folder) {
  std::error_code wrong;
  for (fs::directory_iterator files(folder, wrong); !wrong && files != fs::directory_iterator(); files.increment(wrong))
    if (files->path().extension() == ".part") ::unlink(files->path().c_str());
}

}  // namespace kedge::backup
