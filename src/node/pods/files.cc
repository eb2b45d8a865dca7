#include "node/pods/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/descriptor.h"
#include "base/strings.h"
#include "base/time.h"
#include "crypto/files.h"

namespace kedge::node {

namespace {

namespace fs = std::filesystem;

constexpr int depth_max = 200;  // of a tree that is removed: deeper ones are nobody's in earnest

std::unexpected<error> last_error(std::string_view what, const std::string& path) {
  return fail(os_error(errno, fmt::format("{} {}", what, path)));
}

std::string parent_of(const std::string& path) {
  auto slash = path.find_last_of('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}
std::string first_part(const std::string& path) { return path.substr(0, path.find('/')); }

bool holds(const std::string& folder, const std::vector<volume_file>& files) {
  for (auto& f : files) {
    auto path = folder + "/..data/" + f.path;
    struct stat about{};
    if (::stat(path.c_str(), &about) != 0 || static_cast<std::uint64_t>(about.st_size) != f.bytes.size()) return false;
    auto text = crypto::read_file(path, f.bytes.size() + 1);
    if (!text || *text != f.bytes) return false;
  }
  // No more than these.
  std::size_t there = 0;
  std::error_code problem;
  for (auto it = fs::recursive_directory_iterator(folder + "/..data/", problem);
       !problem && it != fs::recursive_directory_iterator(); it.increment(problem))
    there += it->is_regular_file();
  return !problem && there == files.size();
}

result<void> write_whole(const std::string& path, const volume_file& f, const ownership& who) {
  descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return last_error("create", path);
  for (std::size_t at = 0; at < f.bytes.size();) {
    auto n = ::write(fd.get(), f.bytes.data() + at, f.bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return last_error("write", path);
    at += static_cast<std::size_t>(n);
  }
  auto mode = f.mode;
  if (f.owner && ::fchown(fd.get(), static_cast<uid_t>(*f.owner), static_cast<gid_t>(-1)) != 0)
    return last_error("chown", path);
  if (who.group) {
    // fsGroup's members may read what the owner may.
    if (::fchown(fd.get(), static_cast<uid_t>(-1), static_cast<gid_t>(*who.group)) != 0)
      return last_error("chown", path);
    mode |= 0440;
  }
  if (::fchmod(fd.get(), mode & 07777) != 0) return last_error("chmod", path);
  return {};
}

std::string fresh_name() {
  auto now = system_wall_time();
  auto text = format_rfc3339_nano(now);  // 2026-11-21T04:50:38.123456789Z
  std::string out = "..";
  for (char c : text) out += c == '-' || c == 'T' || c == ':' ? '_' : c;
  out.pop_back();
  return out;
}

// Removes `name` in `at` with what is in it, on the one file system `device`.
result<void> remove_in(int at, const char* name, dev_t device, int depth) {
  if (depth > depth_max) return fail(errc::too_large, fmt::format("{} is too deep to be removed", name));
  struct stat about{};
  if (::fstatat(at, name, &about, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? result<void>() : last_error("stat", name);
  if (about.st_dev != device) return fail(errc::unavailable, fmt::format("{} is still mounted", name));
  if (!S_ISDIR(about.st_mode)) {
    if (::unlinkat(at, name, 0) != 0 && errno != ENOENT) return last_error("remove", name);
    return {};
  }
  auto fd = ::openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return last_error("open", name);
  auto* list = ::fdopendir(fd);
  if (!list) {
    ::close(fd);
    return last_error("open", name);
  }
  result<void> out;
  while (auto* entry = ::readdir(list)) {
    std::string_view n = entry->d_name;
    if (n == "." || n == "..") continue;
    if (out = remove_in(::dirfd(list), entry->d_name, device, depth + 1); !out) break;
  }
  ::closedir(list);
  if (!out) return out;
  if (::unlinkat(at, name, AT_REMOVEDIR) != 0 && errno != ENOENT) return last_error("remove", name);
  return {};
}

// /proc/self/mountinfo's mount points below `folder`, the innermost first. Escapes are the kernel's octal ones.
std::vector<std::string> mounts_below(const std::string& folder) {
  std::vector<std::string> out;
  std::ifstream in("/proc/self/mountinfo");
  std::string line;
  while (std::getline(in, line)) {
    auto words = split(line, ' ');
    if (words.size() < 5) continue;
    std::string path;
    for (std::size_t i = 0; i < words[4].size(); ++i) {
      if (words[4][i] == '\\' && i + 3 < words[4].size()) {
        path += static_cast<char>((words[4][i + 1] - '0') * 64 + (words[4][i + 2] - '0') * 8 + (words[4][i + 3] - '0'));
        i += 3;
      } else {
        path += words[4][i];
      }
    }
    if (path == folder || path.starts_with(folder + "/")) out.push_back(std::move(path));
  }
  std::reverse(out.begin(), out.end());
  return out;
}

int open_beneath(int at, const std::string& path, std::uint64_t flags) {
  struct open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, at, path.c_str(), &how, sizeof how));
}

// Group and mode of what was opened, and of what is in it. Containers may exchange names for links meanwhile: what is
// changed is what was looked at, by its descriptor (CVE-2021-25741's like).
result<void> give_opened(const descriptor& it, const char* name, gid_t group, bool only_readable, int depth) {
  if (depth > depth_max) return fail(errc::too_large, fmt::format("{} is too deep", name));
  struct stat about{};
  if (::fstat(it.get(), &about) != 0) return last_error("stat", name);
  if (::fchownat(it.get(), "", static_cast<uid_t>(-1), group, AT_EMPTY_PATH) != 0) return last_error("chown", name);
  if (S_ISLNK(about.st_mode)) return {};
  const bool is_folder = S_ISDIR(about.st_mode);
  const auto mode = about.st_mode | (only_readable ? 0440 : 0660) | (is_folder ? S_ISGID | 0110 : 0);
  if (::chmod(fmt::format("/proc/self/fd/{}", it.get()).c_str(), mode & 07777) != 0) return last_error("chmod", name);
  if (!is_folder) return {};
  auto fd = ::openat(it.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return last_error("open", name);
  auto* list = ::fdopendir(fd);
  if (!list) {
    ::close(fd);
    return last_error("open", name);
  }
  result<void> out;
  while (auto* entry = ::readdir(list)) {
    std::string_view n = entry->d_name;
    if (n == "." || n == "..") continue;
    descriptor inner(::openat(::dirfd(list), entry->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!inner && errno == ENOENT) continue;
    if (out = inner ? give_opened(inner, entry->d_name, group, only_readable, depth + 1)
                    : last_error("open", entry->d_name);
        !out)
      break;
  }
  ::closedir(list);
  return out;
}

}  // namespace

result<void> make_pod_folder(const std::string& path, unsigned mode) {
  KEDGE_CHECK(crypto::make_folder(path, 0750));
  if (::chmod(path.c_str(), mode) != 0) return last_error("chmod", path);
  return {};
}

result<bool> write_atomically(const std::string& folder, const std::vector<volume_file>& files, const ownership& who) {
  if (holds(folder, files)) return false;
  auto fresh = fresh_name();
  auto into = folder + "/" + fresh;
  if (::mkdir(into.c_str(), 0755) != 0) return last_error("create", into);
  if (::chmod(into.c_str(), 0755) != 0) return last_error("chmod", into);
  for (auto& f : files) {
    auto path = into + "/" + f.path;
    KEDGE_CHECK(crypto::make_folder(parent_of(path), 0755));
    KEDGE_CHECK(write_whole(path, f, who));
  }
  std::error_code problem;
  auto old = fs::read_symlink(folder + "/..data", problem);
  auto next = folder + "/..data_tmp";
  ::unlink(next.c_str());
  if (::symlink(fresh.c_str(), next.c_str()) != 0) return last_error("link", next);
  if (::rename(next.c_str(), (folder + "/..data").c_str()) != 0) return last_error("rename", next);
  // What containers see: links into ..data, by the first part of each path.
  std::vector<std::string> names;
  for (auto& f : files) names.push_back(first_part(f.path));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (auto& name : names) {
    auto link = folder + "/" + name;
    if (::symlink(("..data/" + name).c_str(), link.c_str()) != 0 && errno != EEXIST) return last_error("link", link);
  }
  for (auto it = fs::directory_iterator(folder, problem); !problem && it != fs::directory_iterator();
       it.increment(problem)) {
    auto name = it->path().filename().string();
    if (name.starts_with("..") ? name != "..data" && name != fresh
                               : !std::binary_search(names.begin(), names.end(), name))
      (void)remove_tree(it->path().string());
  }
  return true;
}

result<void> give_to_group(const std::string& folder, const ownership& who) {
  if (!who.group) return {};
  auto group = static_cast<gid_t>(*who.group);
  struct stat about{};
  if (who.only_on_mismatch && ::stat(folder.c_str(), &about) == 0 && about.st_gid == group &&
      (about.st_mode & (S_ISGID | 0060)) == (S_ISGID | 0060))
    return {};
  descriptor top(::open(folder.c_str(), O_PATH | O_CLOEXEC));
  return top ? give_opened(top, folder.c_str(), group, who.only_readable, 0) : last_error("open", folder);
}

bool is_mount_point(const std::string& path) {
  for (auto& m : mounts_below(path))
    if (m == path) return true;
  return false;
}

bool has_mounts(const std::string& folder) { return !mounts_below(folder).empty(); }

result<void> make_shared(const std::string& folder) {
  // The innermost mount that the folder is in; of equal ones the last.
  std::string holder, line;
  bool shared = false;
  std::ifstream in("/proc/self/mountinfo");
  while (std::getline(in, line)) {
    auto words = split(line, ' ');
    constexpr std::size_t place = 4, first_optional = 6;
    if (words.size() <= first_optional) continue;
    auto at = std::string(words[place]);
    const bool holds = at == "/" || folder == at || folder.starts_with(at + "/");
    if (!holds || at.size() < holder.size()) continue;
    holder = std::move(at);
    shared = false;
    for (auto i = first_optional; i < words.size() && words[i] != "-"; ++i) shared |= words[i].starts_with("shared:");
  }
  if (shared || has_mounts(folder)) return {};
  if (::mount(folder.c_str(), folder.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
    return last_error("mount", folder);
  if (::mount(nullptr, folder.c_str(), nullptr, MS_SHARED | MS_REC, nullptr) != 0) return last_error("share", folder);
  return {};
}

result<void> mount_tmpfs(const std::string& path, std::uint64_t size_bytes) {
  if (is_mount_point(path)) return {};
  // Secrets never reach a disk; kernels before 6.4 know no noswap.
  auto size = size_bytes > 0 ? fmt::format("size={},", size_bytes) : std::string();
  if (::mount("tmpfs", path.c_str(), "tmpfs", 0, (size + "noswap").c_str()) == 0) return {};
  if (::mount("tmpfs", path.c_str(), "tmpfs", 0, size.c_str()) != 0) return last_error("mount tmpfs at", path);
  return {};
}

result<void> mount_subpath(const std::string& volume, const std::string& inside, const std::string& target) {
  descriptor root(::open(volume.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return last_error("open", volume);
  if (::faccessat(root.get(), inside.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT) {
    struct stat about{};
    if (::fstat(root.get(), &about) != 0) return last_error("stat", volume);
    // Part by part, each opened beneath the volume.
    std::string done;
    for (auto part : split(inside, '/')) {
      if (part.empty() || part == ".") continue;
      descriptor at(done.empty() ? ::dup(root.get()) : open_beneath(root.get(), done, O_PATH | O_DIRECTORY));
      if (!at) return last_error("open", done);
      std::string name(part);
      if (::mkdirat(at.get(), name.c_str(), 0700) == 0) {
        // By its descriptor: a container may have put a link in its place.
        descriptor made(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!made || ::fchmod(made.get(), about.st_mode & 07777) != 0) return last_error("chmod", inside);
      } else if (errno != EEXIST) {
        return last_error("create", inside);
      }
      done += (done.empty() ? "" : "/") + std::string(part);
    }
  }
  descriptor what(open_beneath(root.get(), inside, O_PATH));
  if (!what) return last_error("open", inside);
  struct stat about{};
  if (::fstat(what.get(), &about) != 0) return last_error("stat", inside);
  if (is_mount_point(target)) return {};
  KEDGE_CHECK(crypto::make_folder(parent_of(target), 0750));
  if (S_ISDIR(about.st_mode)) {
    KEDGE_CHECK(crypto::make_folder(target, 0750));
  } else {
    descriptor file(::open(target.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
    if (!file) return last_error("create", target);
  }
  auto from = fmt::format("/proc/self/fd/{}", what.get());
  if (::mount(from.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
    return last_error("mount", inside);
  return {};
}

result<void> remove_tree(const std::string& folder) {
  struct stat about{};
  if (::lstat(folder.c_str(), &about) != 0) return errno == ENOENT ? result<void>() : last_error("stat", folder);
  return remove_in(AT_FDCWD, folder.c_str(), about.st_dev, 0);
}

void end_mounts(const std::string& folder) {
  for (auto& m : mounts_below(folder))
    if (::umount2(m.c_str(), UMOUNT_NOFOLLOW) != 0 && errno == EBUSY)
      ::umount2(m.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH);
}

result<void> remove_pod_folder(const std::string& folder) {
  end_mounts(folder);
  // One of the same file system would not be noticed below.
  if (has_mounts(folder)) return fail(errc::unavailable, folder + ": what is mounted there can't be unmounted");
  return remove_tree(folder);
}

result<void> check_host_path(const std::string& path, std::string_view type) {
  struct stat about{};
  bool there = ::stat(path.c_str(), &about) == 0;
  auto refuse = [&](std::string_view what) {
    if (!there)
      return fail(
          errc::not_found,
          fmt::format(
              "hostPath type check failed, {} is not {}, unable to determine its type: path \"{}\" does not exist",
              path, what, path));
    auto is = S_ISDIR(about.st_mode)    ? "Directory"
              : S_ISREG(about.st_mode)  ? "File"
              : S_ISSOCK(about.st_mode) ? "Socket"
              : S_ISCHR(about.st_mode)  ? "CharDevice"
              : S_ISBLK(about.st_mode)  ? "BlockDevice"
                                        : "unknown";
    return fail(errc::invalid, fmt::format("hostPath type check failed: {} is not {}, it's a {}", path, what, is));
  };
  if (type.empty()) return {};
  if (type == "DirectoryOrCreate" || type == "Directory") {
    if (!there && type == "DirectoryOrCreate") return crypto::make_folder(path, 0755);
    if (!there || !S_ISDIR(about.st_mode)) return refuse("a directory");
  } else if (type == "FileOrCreate" || type == "File") {
    if (!there && type == "FileOrCreate") {
      descriptor made(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
      return made ? result<void>() : last_error("create", path);
    }
    if (!there || !S_ISREG(about.st_mode)) return refuse("a file");
  } else if (type == "Socket") {
    if (!there || !S_ISSOCK(about.st_mode)) return refuse("a socket file");
  } else if (type == "CharDevice") {
    if (!there || !S_ISCHR(about.st_mode)) return refuse("a character device");
  } else if (type == "BlockDevice") {
    if (!there || !S_ISBLK(about.st_mode)) return refuse("a block device");
  } else {
    return fail(errc::invalid, fmt::format("{} is an invalid volume type", type));
  }
  return {};
}

void remove_cgroups(const std::string& parent) {
  std::error_code problem;
  auto remove_all = [](auto& self, const fs::path& folder) -> void {
    std::error_code ignored;
    for (auto it = fs::directory_iterator(folder, ignored); !ignored && it != fs::directory_iterator();
         it.increment(ignored))
      if (std::error_code e; it->is_directory(e) && !it->is_symlink(e)) self(self, it->path());
    ::rmdir(folder.c_str());
  };
  const std::string root = "/sys/fs/cgroup";
  remove_all(remove_all, root + parent);  // v2
  for (auto it = fs::directory_iterator(root, problem); !problem && it != fs::directory_iterator();
       it.increment(problem)) {
    std::error_code e;
    if (it->is_directory(e) && !it->is_symlink(e) && fs::exists(it->path().string() + parent, e))
      remove_all(remove_all, it->path().string() + parent);
  }
}

}  // namespace kedge::node
