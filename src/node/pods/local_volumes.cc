#include "node/pods/local_volumes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/strings.h"
#include "crypto/files.h"
#include "node/pods/files.h"

namespace kedge::node {

namespace {

constexpr std::size_t folder_max_bytes = 1024;  // a volume's, a namespace's and a claim's name
constexpr unsigned for_all = 0777, for_root = 0700, for_parents = 0755;

class opened {
 public:
  explicit opened(int fd) noexcept : fd_(fd) {}
  opened(opened&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  opened& operator=(opened&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~opened() {
    if (fd_ >= 0) ::close(fd_);
  }
  operator int() const noexcept { return fd_; }

 private:
  int fd_;
};

std::unexpected<error> failed(std::string_view what, const std::string& path) {
  return fail(os_error(errno, fmt::format("{} {}", what, path)));
}

std::string path_of(const local_volume& v) { return v.base + "/" + v.folder; }

// What the volume's last name lies in; missing folders are made with `make`.
result<opened> parent_of(const local_volume& v, bool make) {
  opened at(::open(v.base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (at < 0) return failed("open", v.base);
  auto names = split(v.folder, '/');
  for (std::size_t i = 0; i + 1 < names.size(); ++i) {
    std::string name(names[i]);
    if (make && ::mkdirat(at, name.c_str(), for_parents) != 0 && errno != EEXIST) return failed("make", path_of(v));
    opened next(::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (next < 0) return failed("open", path_of(v));
    at = std::move(next);
  }
  return at;
}

std::string last_name(const local_volume& v) { return v.folder.substr(v.folder.rfind('/') + 1); }

}  // namespace

result<local_volume> local_volume::make(std::string base, std::string folder) {
  while (base.size() > 1 && base.ends_with('/')) base.pop_back();
  auto wrong = [&](std::string_view why) {
    return fail(errc::invalid, fmt::format("no place for a volume: {} in {}: {}", quote(folder), quote(base), why));
  };
  if (!base.starts_with('/') || base == "/") return wrong("its base is no absolute path, or the root");
  if (folder.empty() || folder.size() > folder_max_bytes) return wrong("its name is empty or too long");
  for (auto text : {std::string_view(base).substr(1), std::string_view(folder)})
    for (auto part : split(text, '/'))
      if (part.empty() || part == "." || part == ".." || part.contains('\0')) return wrong("it leads elsewhere");
  return local_volume{std::move(base), std::move(folder)};
}

result<void> make_local_volume(const local_volume& v) {
  KEDGE_CHECK(crypto::make_folder(v.base, for_parents));
  KEDGE_TRY(auto parent, parent_of(v, true));
  auto name = last_name(v);
  const bool made = ::mkdirat(parent, name.c_str(), for_all) == 0;
  if (!made && errno != EEXIST) return failed("make", path_of(v));
  opened own(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (own < 0) return failed("open", path_of(v));
  if (made && ::fchmod(own, for_all) != 0) return failed("change the mode of", path_of(v));
  if (::fchmod(parent, for_root) != 0) return failed("change the mode of what is above", path_of(v));
  return {};
}

result<void> remove_local_volume(const local_volume& v) {
  auto parent = parent_of(v, false);
  if (!parent && parent.error().code == errc::not_found) return {};
  if (!parent) return fail(std::move(parent).error());
  auto name = last_name(v);
  struct stat above{}, about{};
  if (::fstat(*parent, &above) != 0) return failed("stat", v.base);
  if (::fstatat(*parent, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? result<void>() : failed("stat", path_of(v));
  if (!S_ISDIR(about.st_mode)) return fail(errc::invalid, path_of(v) + " is no folder");
  // By the opened folder, so that nobody exchanges what is above meanwhile.
  auto within = fmt::format("/proc/self/fd/{}", static_cast<int>(*parent));
  std::error_code unknown;
  auto real = std::filesystem::read_symlink(within, unknown).string();
  if (unknown || about.st_dev != above.st_dev || has_mounts(real + "/" + name))
    return fail(errc::unavailable, path_of(v) + " is in use: something is mounted there");
  return remove_tree(within + "/" + name);
}

}  // namespace kedge::node
