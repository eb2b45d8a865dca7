#include "shim/mounts.h"

#include <doctest/doctest.h>
#include <sys/mount.h>

using namespace kedge::shim;

TEST_CASE("options become flags, and what isn't one goes to the file system") {
  auto f = read_flags({.type = "bind", .options = {"rbind", "ro", "rslave", "mode=755"}}, 4096);
  CHECK(f.set == (MS_BIND | MS_REC | MS_RDONLY));
  CHECK(f.propagation == (MS_SLAVE | MS_REC));
  CHECK(f.data == "mode=755");
  CHECK(read_flags({.type = "tmpfs", .options = {"ro", "rw"}}, 4096).set == 0);
}

TEST_CASE("the layers of an overlay are named from their common folder when they don't fit into a page") {
  std::string lower = "lowerdir=";
  for (int i = 0; i < 100; ++i)
    lower += (i ? ":" : "") + ("/var/lib/containerd/snapshots/" + std::to_string(i)) + "/fs";
  mount_request m{.type = "overlay", .options = {"index=off", "upperdir=/u/fs", lower}};
  auto f = read_flags(m, 4096);
  CHECK(f.base == "/var/lib/containerd/snapshots/");
  CHECK(f.data.starts_with("index=off,upperdir=/u/fs,lowerdir=0/fs:1/fs:2/fs:"));
  CHECK(f.data.size() < 4096);
  // Where they fit they stay as they are.
  CHECK(read_flags({.type = "overlay", .options = {"lowerdir=/a/b:/a/c"}}, 4096).base.empty());
  CHECK(read_flags({.type = "overlay", .options = {"lowerdir=/a/b:/c/d"}}, 10).data == "lowerdir=/a/b:/c/d");
}
