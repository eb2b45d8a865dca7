#include "shim/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <ranges>

#include "base/descriptor.h"
#include "base/strings.h"
#include "shim/files.h"
#include "shim/limits.h"
#include "shim/spawn.h"

namespace kedge::shim {

namespace {

struct known_option {
  std::string_view name;
  bool clears;
  unsigned long flag;
};
// mount(8)'s names.
constexpr known_option known_options[] = {
    {"async", true, MS_SYNCHRONOUS},
    {"atime", true, MS_NOATIME},
    {"bind", false, MS_BIND},
    {"defaults", false, 0},
    {"dev", true, MS_NODEV},
    {"diratime", true, MS_NODIRATIME},
    {"dirsync", false, MS_DIRSYNC},
    {"exec", true, MS_NOEXEC},
    {"mand", false, MS_MANDLOCK},
    {"noatime", false, MS_NOATIME},
    {"nodev", false, MS_NODEV},
    {"nodiratime", false, MS_NODIRATIME},
    {"noexec", false, MS_NOEXEC},
    {"nomand", true, MS_MANDLOCK},
    {"norelatime", true, MS_RELATIME},
    {"nostrictatime", true, MS_STRICTATIME},
    {"nosuid", false, MS_NOSUID},
    {"private", false, MS_PRIVATE},
    {"rbind", false, MS_BIND | MS_REC},
    {"relatime", false, MS_RELATIME},
    {"remount", false, MS_REMOUNT},
    {"ro", false, MS_RDONLY},
    {"rprivate", false, MS_PRIVATE | MS_REC},
    {"rshared", false, MS_SHARED | MS_REC},
    {"rslave", false, MS_SLAVE | MS_REC},
    {"runbindable", false, MS_UNBINDABLE | MS_REC},
    {"rw", true, MS_RDONLY},
    {"shared", false, MS_SHARED},
    {"slave", false, MS_SLAVE},
    {"strictatime", false, MS_STRICTATIME},
    {"suid", true, MS_NOSUID},
    {"sync", false, MS_SYNCHRONOUS},
    {"unbindable", false, MS_UNBINDABLE},
};
constexpr unsigned long propagations = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;
constexpr std::string_view lower_option = "lowerdir=";

// The folder that all the paths are in, with its slash at the end; empty when that is the root.
std::string_view common_folder(const std::vector<std::string_view>& paths) {
  auto out = paths.front();
  for (auto p : paths) {
    auto [a, b] = std::ranges::mismatch(out, p);
    out = out.substr(0, static_cast<std::size_t>(a - out.begin()));
  }
  auto slash = out.find_last_of('/');
  if (slash == std::string_view::npos || slash == 0) return {};
  return out.substr(0, slash + 1);
}

}  // namespace

mount_flags read_flags(const mount_request& m, std::size_t page_bytes) {
  constexpr std::size_t spare_bytes = 512;  // containerd's
  mount_flags out;
  std::vector<std::string> data;
  for (auto option : m.options) {
    auto known = std::ranges::find(known_options, option, &known_option::name);
    if (known == std::end(known_options)) {
      data.emplace_back(option);
    } else if (known->clears) {
      out.set &= ~known->flag;
    } else if (known->flag & propagations) {
      out.propagation |= known->flag;
    } else {
      out.set |= known->flag;
    }
  }
  out.data = join(data, ",");
  auto lower = std::ranges::find_if(data, [](auto& d) { return d.starts_with(lower_option); });
  if (m.type != "overlay" || out.data.size() + spare_bytes < page_bytes || lower == data.end()) return out;
  auto whole = *lower;
  auto paths = split(std::string_view(whole).substr(lower_option.size()), ':');
  auto folder = common_folder(paths);
  if (folder.empty()) return out;
  *lower = lower_option;
  for (auto p : paths) {
    if (lower->size() > lower_option.size()) *lower += ':';
    *lower += p.substr(folder.size());
  }
  out.base = folder;
  out.data = join(data, ",");
  return out;
}

namespace {

// File systems in user space are mounted by their package's helper, as containerd does it:
// mount.fuse3 SOURCE TARGET -o OPTION… -t TYPE. It ends when the file system is there.
result<void> mount_by_helper(std::string_view helper, std::string_view type, const mount_request& m,
                             const std::string& target) {
  program p{.argv = {find_program(helper), std::string(m.source), target}};
  if (p.argv[0].empty()) return fail(errc::not_found, std::string(helper) + " is not in $PATH");
  for (auto option : m.options) p.argv.insert(p.argv.end(), {"-o", std::string(option)});
  p.argv.insert(p.argv.end(), {"-t", std::string(type)});
  KEDGE_TRY(auto said, memory_file({}));
  p.out = p.err = said.get();
  KEDGE_TRY(int pid, spawn(p));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  if (status != 0)
    return fail(errc::io, std::string(helper) + ": " + std::string(trim(read_all(said.get(), output_bytes_max))));
  return {};
}

result<void> mount_one(const mount_request& m, const std::string& target) {
  auto what = [&] { return "mount " + quote(m.source) + " (" + std::string(m.type) + ") at " + target; };
  for (std::string_view helper : {"mount.fuse3", "mount.fuse"}) {
    auto prefix = std::string(helper.substr(helper.find('.') + 1)) + ".";
    if (m.type.starts_with(prefix)) return mount_by_helper(helper, m.type.substr(prefix.size()), m, target);
  }
  auto f = read_flags(m, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  for (auto option : m.options)
    if (option == "loop" || option.starts_with("uidmap=") || option.starts_with("gidmap=") || option.starts_with("X-"))
      return fail(errc::unsupported,
                  what() + ": option " + quote(option) + " is not supported by this runtime; use runc");
  // This thread is the only one, so it may go where relative paths begin, and come back.
  descriptor here;
  if (!f.base.empty()) {
    here = descriptor(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (::chdir(f.base.c_str()) < 0) return fail(os_error(errno, "chdir " + f.base));
  }
  auto source = std::string(m.source), type = std::string(m.type);
  int failed = 0;
  if (::mount(source.c_str(), target.c_str(), type.c_str(), f.set, f.data.c_str()) < 0) failed = errno;
  if (here && ::fchdir(here.get()) < 0 && failed == 0) failed = errno;
  if (failed) return fail(os_error(failed, what()));
  if (f.propagation && ::mount("", target.c_str(), "", f.propagation, "") < 0) return fail(os_error(errno, what()));
  // A bind mount takes over the flags of its source: it is made read-only by a second call.
  constexpr unsigned long read_only_bind = MS_BIND | MS_RDONLY;
  if ((f.set & read_only_bind) == read_only_bind && ::mount("", target.c_str(), "", f.set | MS_REMOUNT, "") < 0)
    return fail(os_error(errno, what()));
  return {};
}

}  // namespace

result<void> mount_all(const std::vector<mount_request>& mounts, const std::string& target) {
  for (auto& m : mounts) {
    if (m.target.contains("..")) return fail(errc::invalid, "a mount's target leaves the container's root");
    KEDGE_CHECK(mount_one(m, m.target.empty() ? target : target + "/" + std::string(m.target)));
  }
  return {};
}

result<void> unmount_below(const std::string& folder) {
  // One mount is what there is, almost always; then nobody has to read the table of all of the machine's.
  while (::umount2(folder.c_str(), UMOUNT_NOFOLLOW) == 0) {}
  if (errno == EINVAL || errno == ENOENT) return {};
  // mountinfo names mounts in the order of their making, the last made on top. Field 5 is where; spaces are octal
  // there.
  KEDGE_TRY(auto table, read_file("/proc/self/mountinfo", 64 * 1024 * 1024));
  std::vector<std::string> found;
  for (auto line : split(table, '\n')) {
    auto fields = split(line, ' ');
    if (fields.size() < 5) continue;
    std::string where;
    for (std::size_t i = 0; i < fields[4].size(); ++i) {
      if (fields[4][i] != '\\' || i + 3 >= fields[4].size()) {
        where += fields[4][i];
        continue;
      }
      where +=
          static_cast<char>((fields[4][i + 1] - '0') << 6 | (fields[4][i + 2] - '0') << 3 | (fields[4][i + 3] - '0'));
      i += 3;
    }
    if (where == folder || where.starts_with(folder + "/")) found.push_back(std::move(where));
  }
  for (auto& where : std::ranges::reverse_view(found))
    if (::umount2(where.c_str(), UMOUNT_NOFOLLOW) < 0 && ::umount2(where.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0 &&
        errno != EINVAL && errno != ENOENT)
      return fail(os_error(errno, "unmount " + where));
  return {};
}

}  // namespace kedge::shim
