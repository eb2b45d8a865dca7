#include "control/addons/folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/strings.h"
#include "control/addons/limits.h"

namespace kedge::control::addons {

namespace {

namespace fs = std::filesystem;
using names = std::set<std::string, std::less<>>;

bool is_manifest_name(std::string_view name) {
  auto text = lower(name);
  return text.ends_with(".yaml") || text.ends_with(".yml") || text.ends_with(".json");
}

std::int64_t nanoseconds(const timespec& t) { return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }

class walk {
 public:
  walk(folder_look& out) : out_(out) {}

  // `real` is where it is, `path` and `relative` what it is called.
  void folder(const std::string& real, const std::string& path, const std::string& relative, bool linked, int depth) {
    if (depth > depth_max) return problem(path, "too deep");
    out_.folders.push_back(real);
    std::error_code failed;
    for (fs::directory_iterator i(real, failed), end; !failed && i != end; i.increment(failed)) {
      if (++entries_ > entries_max) return problem(path, "more files than are looked at");
      auto name = i->path().filename().string();
      entry(i->path().string(), path + "/" + name, relative.empty() ? name : relative + "/" + name, name, linked,
            depth);
    }
    if (failed && failed != std::errc::no_such_file_or_directory) problem(path, failed.message());
  }

  names skips;  // by name, wherever in the tree

 private:
  void problem(const std::string& path, std::string_view why) {
    if (out_.problems.size() < problems_max) out_.problems.push_back(path + ": " + std::string(why));
  }

  void entry(const std::string& real, const std::string& path, const std::string& relative, const std::string& name,
             bool linked, int depth) {
    struct stat own{}, about{};
    if (::lstat(real.c_str(), &own) != 0) return;  // gone meanwhile
    if (::stat(real.c_str(), &about) != 0) {
      if (S_ISLNK(own.st_mode)) problem(path, "a link to nothing");
      return;
    }
    const bool is_link = S_ISLNK(own.st_mode);
    if (S_ISDIR(about.st_mode)) {
      if (is_link && linked) return;
      std::error_code failed;
      auto at = is_link ? fs::canonical(real, failed).string() : real;
      if (failed) return problem(path, failed.message());
      return folder(at, path, relative, linked || is_link, depth + 1);
    }
    if (name.ends_with(".skip")) skips.insert(name.substr(0, name.size() - 5));
    if (!is_manifest_name(name)) return;
    out_.files.push_back({.path = path,
                          .relative = relative,
                          .own = !linked,
                          .stamp = {nanoseconds(about.st_mtim), nanoseconds(about.st_ctim),
                                    static_cast<std::uint64_t>(about.st_size), about.st_ino}});
  }

  folder_look& out_;
  std::size_t entries_ = 0;
};

}  // namespace

bool is_disabled(std::string_view relative, const names& disabled) {
  for (auto slash = relative.find('/'); slash != relative.npos; slash = relative.find('/', slash + 1))
    if (disabled.contains(relative.substr(0, slash))) return true;
  auto base = relative.substr(relative.rfind('/') + 1);
  return is_manifest_name(base) && disabled.contains(base.substr(0, base.rfind('.')));
}

folder_look look_at(const std::string& folder, const names& disabled) {
  folder_look out;
  walk w(out);
  w.folder(folder, folder, {}, false, 0);
  std::ranges::sort(out.files, {}, &manifest_file::path);
  using fate = manifest_file::fate;
  for (auto& f : out.files) {
    auto base = f.relative.substr(f.relative.rfind('/') + 1);
    if (is_disabled(f.relative, disabled))
      f.what = fate::remove;
    else if (base.starts_with('.') || w.skips.contains(base))
      f.what = fate::skip;
  }
  std::erase_if(out.files, [](auto& f) { return f.what == fate::skip; });
  return out;
}

result<std::string> read_manifest_file(const std::string& path) {
  // A pipe isn't waited for.
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return fail(os_error(errno, "open " + path));
  struct closer {
    int fd;
    ~closer() { ::close(fd); }
  } close{fd};
  struct stat about{};
  if (::fstat(fd, &about) != 0) return fail(os_error(errno, "stat " + path));
  if (!S_ISREG(about.st_mode)) return fail(errc::invalid, "read " + path + ": it is no regular file");
  auto too_large = [&] {
    return fail(errc::too_large, fmt::format("read {}: it has more than {} MiB", path, manifest_max_bytes >> 20));
  };
  if (static_cast<std::uint64_t>(about.st_size) > manifest_max_bytes) return too_large();
  std::string out;
  for (;;) {
    char piece[64 * 1024];
    auto n = ::read(fd, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(os_error(errno, "read " + path));
    if (n == 0) return out;
    out.append(piece, static_cast<std::size_t>(n));
    if (out.size() > manifest_max_bytes) return too_large();
  }
}

std::string addon_name(std::string_view path) {
  auto base = path.substr(path.rfind('/') + 1);
  return std::string(base.substr(0, base.find('.')));
}

}  // namespace kedge::control::addons
