#include "node/network/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

namespace kedge::node {

result<void> write_sysctl(const std::string& name, std::string_view value) {
  auto path = "/proc/sys/net/" + name;
  int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? result<void>() : fail(os_error(errno, path));
  auto wrote = ::write(fd, value.data(), value.size());
  int why = errno;
  ::close(fd);
  if (wrote < 0) return fail(os_error(why, path));
  return {};
}

bool has_sysctl(const std::string& name) { return ::access(("/proc/sys/net/" + name).c_str(), F_OK) == 0; }

}  // namespace kedge::node
