#include "shim/bundle.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "shim/files.h"
#include "shim/socket_address.h"
#include "support.h"

using namespace kedge;
using namespace kedge::shim;

TEST_CASE("what a shim wrote about its container is read by who cleans up after it") {
  temporary_folder bundle;
  CHECK(read_runtime(bundle.path()).binary.empty());
  REQUIRE(write_runtime(bundle.path(), {.binary = "/usr/bin/crun", .root = "/run/\"x\"", .systemd_cgroup = true}));
  auto o = read_runtime(bundle.path());
  CHECK(o.binary == "/usr/bin/crun");
  CHECK(o.root == "/run/\"x\"");
  CHECK(o.systemd_cgroup);

  CHECK_FALSE(read_exit(bundle.path()));
  write_exit(bundle.path(), {.status = 3, .at = {.tv_sec = 11, .tv_nsec = 12}});
  auto e = read_exit(bundle.path());
  REQUIRE(e);
  CHECK(e->status == 3);
  CHECK(e->at.tv_sec == 11);
  CHECK(e->at.tv_nsec == 12);
  bundle.write("exit", "3 x");
  CHECK_FALSE(read_exit(bundle.path()));
}

TEST_CASE("pids are numbers of processes that may be killed") {
  temporary_folder bundle;
  for (auto* text : {"", "x", "0", "1", "-5", "99999999999"}) {
    CAPTURE(text);
    bundle.write("init.pid", text);
    CHECK_FALSE(read_pid(bundle / "init.pid"));
  }
  bundle.write("init.pid", "1234\n");
  CHECK(read_pid(bundle / "init.pid") == 1234);
}

TEST_CASE("containers of a pod are a group, by containerd's annotation or label") {
  temporary_folder bundle;
  CHECK(group_of(bundle.path(), "own") == "own");
  bundle.write("config.json", R"({"ociVersion":"1","annotations":{"a":"b","io.kubernetes.cri.sandbox-id":"pod"}})");
  CHECK(group_of(bundle.path(), "own") == "pod");
  bundle.write("config.json",
               R"({"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"first"}})");
  CHECK(group_of(bundle.path(), "own") == "first");
  bundle.write("config.json", R"({"process":{"args":["io.kubernetes.cri.sandbox-id"]}})");
  CHECK(group_of(bundle.path(), "own") == "own");
}

TEST_CASE("processes outlive init only where the pid namespace isn't the container's") {
  temporary_folder bundle;
  CHECK(shares_pids(bundle.path()));  // who can't tell kills
  bundle.write("config.json", R"({"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}})");
  CHECK_FALSE(shares_pids(bundle.path()));
  bundle.write("config.json", R"({"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}})");
  CHECK(shares_pids(bundle.path()));
  bundle.write("config.json", R"({"linux":{"namespaces":[{"type":"mount"}]}})");
  CHECK(shares_pids(bundle.path()));
}

TEST_CASE("identifiers are containerd's") {
  for (auto* fine : {"a", "a1", "default", "0cf35fe2a1", "a.b_c-d"}) CHECK(is_identifier(fine));
  for (auto* bad : {"", "a/b", "..", ".a", "a.", "-x", "a b", "a\n"}) CHECK_FALSE(is_identifier(bad));
  CHECK(is_identifier(std::string(76, 'a')));
  CHECK_FALSE(is_identifier(std::string(77, 'a')));
}

TEST_CASE("sockets of different groups, namespaces and containerds have names of their own") {
  auto a = socket_path("/run/x.sock", "k8s.io", "pod");
  CHECK(a == socket_path("/run/x.sock", "k8s.io", "pod"));
  CHECK(a != socket_path("/run/y.sock", "k8s.io", "pod"));
  CHECK(a != socket_path("/run/x.sock", "default", "pod"));
  CHECK(a != socket_path("/run/x.sock", "k8s.io", "pod2"));
  CHECK(socket_path("a", "bc", "d") != socket_path("ab", "c", "d"));
  CHECK(a.size() < 90);  // of 107, for the consoles beside it
}

TEST_CASE("a socket is listened at once; what a dead shim left is taken over, and away") {
  temporary_folder folder;
  auto path = folder / "state/s/socket";
  auto first = listen_at(path);
  REQUIRE(first);
  CHECK(is_listened_at(path));
  CHECK(listen_at(path).error().code == errc::already_exists);
  first->close();  // as a kill would
  CHECK_FALSE(is_listened_at(path));
  auto second = listen_at(path);
  CHECK(second);
  CHECK(is_listened_at(path));
}

TEST_CASE("a socket is for its owner alone") {
  temporary_folder folder;
  auto listener = listen_at(folder / "state/s/socket");
  REQUIRE(listener);
  struct stat s{};
  REQUIRE(::stat((folder / "state/s/socket").c_str(), &s) == 0);
  CHECK((s.st_mode & 0777) == 0600);
  REQUIRE(::stat((folder / "state/s").c_str(), &s) == 0);
  CHECK((s.st_mode & 0777) == 0700);
}

TEST_CASE("who cleans up after a crash takes away what others left, but for what is alive or new") {
  temporary_folder folder;
  auto named = [&](char c) { return folder / ("s/" + std::string(32, c)); };
  auto dead = [&](const std::string& path, bool old) {
    REQUIRE(listen_at(path));
    timespec long_ago[2] = {};
    if (old) REQUIRE(::utimensat(AT_FDCWD, path.c_str(), long_ago, 0) == 0);
  };
  dead(named('a'), true);
  folder.write("s/" + std::string(32, 'a') + ".tty1", "");
  dead(named('b'), true);
  dead(named('c'), false);
  dead(folder / "s/another", true);
  auto alive = listen_at(named('d'));
  REQUIRE(alive);
  remove_dead_socket(named('d'));
  CHECK(std::filesystem::exists(named('d')));
  CHECK(std::filesystem::exists(named('b')));  // nobody crashed: nothing else is looked at
  remove_dead_socket(named('a'));
  CHECK_FALSE(std::filesystem::exists(named('a')));
  CHECK_FALSE(std::filesystem::exists(named('a') + ".tty1"));
  CHECK_FALSE(std::filesystem::exists(named('b')));
  CHECK(std::filesystem::exists(named('c')));
  CHECK(std::filesystem::exists(named('d')));
  CHECK(std::filesystem::exists(folder / "s/another"));
}
