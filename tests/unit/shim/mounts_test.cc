#include "shim/mounts.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include "shim/files.h"
#include "support.h"

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

TEST_CASE("file systems in user space are mounted by their helper") {
  temporary_folder f;
  f.write("mount.fuse3",
          "#!/bin/sh\necho \"$*\" > " + f.path() + "/args\n[ \"$1\" != bad ] || { echo no such layer; exit 1; }\n");
  ::chmod((f / "mount.fuse3").c_str(), 0755);
  std::string before = ::getenv("PATH");
  ::setenv("PATH", (f.path() + ":" + before).c_str(), 1);
  CHECK(mount_all({{.type = "fuse3.fuse-overlayfs", .source = "overlay", .options = {"lowerdir=/a:/b", "ro"}}},
                  "/target"));
  CHECK(read_file(f / "args", 1000) == "overlay /target -o lowerdir=/a:/b -o ro -t fuse-overlayfs\n");
  auto failed = mount_all({{.type = "fuse3.x", .source = "bad"}}, "/target");
  CHECK(failed.error().message == "mount.fuse3: no such layer");
  ::setenv("PATH", before.c_str(), 1);
}

TEST_CASE("what can't be mounted is refused before anything is") {
  for (auto* option : {"loop", "uidmap=0:1000:1"})
    CHECK(mount_all({{.type = "ext4", .source = "x", .options = {option}}}, "/nonexistent").error().code ==
          kedge::errc::unsupported);
  CHECK(mount_all({{.type = "bind", .source = "/", .target = "../x"}}, "/nonexistent").error().code ==
        kedge::errc::invalid);
}
