#include "node/machine/selinux.h"

#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <string_view>

#include "base/strings.h"
#include "crypto/files.h"

namespace kedge::node {

bool has_selinux(const std::string& folder) {
  struct statfs about{};
  if (::statfs(folder.c_str(), &about) != 0 || about.f_type != SELINUX_MAGIC) return false;
  if ((about.f_flags & ST_RDONLY) != 0) return false;
  // Until a policy is loaded everything is the kernel's.
  constexpr std::size_t label_bytes_max = 4096;
  auto label = crypto::read_file("/proc/self/attr/current", label_bytes_max);
  return label && trim(std::string_view(*label).substr(0, label->find('\0'))) != "kernel";
}

}  // namespace kedge::node
