#include "node/network/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/strings.h"

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

std::optional<std::uint64_t> read_sysctl(const std::string& name) {
  int fd = ::open(("/proc/sys/net/" + name).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  char text[32];
  auto got = ::read(fd, text, sizeof text);
  ::close(fd);
  return got > 0 ? parse_uint(trim({text, static_cast<std::size_t>(got)})) : std::nullopt;
}

}  // namespace kedge::node
