#include "node/volumes/block_device.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/strings.h"
#include "crypto/files.h"
#include "node/pods/files.h"

namespace kedge::node {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t backing_name_max = 8192;

std::unexpected<error> last_error(std::string_view what, const std::string& path) {
  return fail(os_error(errno, std::string(what) + " " + path));
}

// The kubelet keeps a device from being taken for another one while a pod has it by a loop device on the map.
void let_loop_devices_go(const std::string& map) {
  std::error_code problem;
  for (auto it = fs::directory_iterator("/sys/block", problem); !problem && it != fs::directory_iterator();
       it.increment(problem)) {
    auto name = it->path().filename().string();
    if (!name.starts_with("loop")) continue;
    auto backing = crypto::read_file(it->path().string() + "/loop/backing_file", backing_name_max);
    if (!backing || trim(*backing) != map) continue;
    auto fd = ::open(("/dev/" + name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    (void)::ioctl(fd, LOOP_CLR_FD, 0);
    ::close(fd);
  }
}

}  // namespace

bool is_block_device(const std::string& path) {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0 && S_ISBLK(about.st_mode);
}

result<void> map_block_device(const std::string& device, const std::string& map, const std::string& link) {
  if (!is_block_device(device)) return fail(errc::invalid, device + " is no block device");
  if (!is_mount_point(map)) {
    KEDGE_CHECK(crypto::make_folder(map.substr(0, map.find_last_of('/')), 0750));
    auto fd = ::open(map.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) return last_error("create", map);
    ::close(fd);
    if (::mount(device.c_str(), map.c_str(), nullptr, MS_BIND, nullptr) != 0) return last_error("mount", map);
  }
  KEDGE_CHECK(crypto::make_folder(link.substr(0, link.find_last_of('/')), 0750));
  std::error_code ignored;
  if (fs::read_symlink(link, ignored) == device) return {};
  if (::unlink(link.c_str()) != 0 && errno != ENOENT) return last_error("remove", link);
  if (::symlink(device.c_str(), link.c_str()) != 0) return last_error("link", link);
  return {};
}

result<void> unmap_block_device(const std::string& map) {
  let_loop_devices_go(map);
  if (is_mount_point(map) && ::umount2(map.c_str(), UMOUNT_NOFOLLOW) != 0) return last_error("unmount", map);
  if (::unlink(map.c_str()) != 0 && errno != ENOENT) return last_error("remove", map);
  return {};
}

}  // namespace kedge::node
