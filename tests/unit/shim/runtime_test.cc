#include "shim/runtime.h"

#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim/files.h"
#include "support.h"

using namespace kedge;
using namespace kedge::shim;

namespace {

// A runtime that is a script.
std::string script(const temporary_folder& folder, std::string_view body) {
  folder.write("runtime", std::string("#!/bin/sh\n") + std::string(body));
  ::chmod((folder / "runtime").c_str(), 0755);
  return folder / "runtime";
}

}  // namespace

TEST_CASE("the last error of a runtime's log is what it died of") {
  CHECK(last_error("{\"level\":\"warning\",\"msg\":\"w\"}\n{\"level\":\"error\",\"msg\":\"first\"}\n"
                   "{\"level\":\"error\",\"msg\":\" exec: \\\"x\\\" \",\"time\":\"t\"}\n") == "exec: \"x\"");
  CHECK(last_error("not json\n{\"level\":\"error\"}\n") == "");
}

TEST_CASE("what runtimes say of containers and processes that are gone") {
  CHECK(absence_of("container not running") == absence::finished);
  CHECK(absence_of("os: process already finished") == absence::finished);
  CHECK(absence_of("kill container: No such process") == absence::finished);
  CHECK(absence_of("container \"x\" does not exist") == absence::unknown_container);
  CHECK(absence_of("permission denied") == absence::no);
}

TEST_CASE("a command gives what it prints, or why it failed") {
  temporary_folder folder;
  auto binary = script(folder,
                       "shift 6\n"
                       "[ \"$1\" != print ] || { echo out; exit 0; }\n"
                       "[ \"$1\" != log ] || { echo '{\"level\":\"error\",\"msg\":\"from the log\"}' > " +
                           folder.path() +
                           "/log.json; exit 1; }\n"
                           "[ \"$1\" != say ] || { echo said >&2; exit 2; }\n"
                           "[ \"$1\" != hang ] || exec sleep 100\n"
                           "exit 3\n");
  loop l;
  runtime r(binary, "/root", false, folder.path());
  run(l, [](loop& on, const runtime& by) -> task<void> {
    auto printed = co_await by.run(on, {.arguments = {"print"}});
    CHECK(printed == "out\n");
    auto logged = co_await by.run(on, {.arguments = {"log"}});
    CHECK(logged.error().message == "from the log");
    auto said = co_await by.run(on, {.arguments = {"say"}});  // the log of the one before is no answer
    CHECK(said.error().message == "said");
    auto mute = co_await by.run(on, {.arguments = {"other"}});
    CHECK(mute.error().message == "other did not terminate successfully: exit status 3");
    auto late = co_await by.run(on, {.arguments = {"hang"}, .deadline = now_ms() + 50});
    CHECK(late.error().code == errc::timeout);
  }(l, r));
}

TEST_CASE("a runtime that isn't there is an error") {
  loop l;
  runtime r("/nonexistent/runtime", "/root", false, "/tmp");
  run(l, [](loop& on, const runtime& by) -> task<void> {
    auto ran = co_await by.run(on, {.arguments = {"print"}});
    CHECK(ran.error().code == errc::not_found);
  }(l, r));
}

TEST_CASE("the runtime is the one asked for, else runc") {
  temporary_folder folder;
  std::string before = ::getenv("PATH");
  ::setenv("PATH", folder.path().c_str(), 1);
  for (auto* name : {"runc", "crun"}) {
    folder.write(name, "#!/bin/sh\n");
    ::chmod((folder / name).c_str(), 0755);
  }
  CHECK(choose_runtime("") == folder / "runc");
  CHECK(choose_runtime("crun") == folder / "crun");
  CHECK(choose_runtime("/bin/other") == "/bin/other");
  ::setenv("PATH", before.c_str(), 1);
}

TEST_CASE("a mount that is hidden from a program is there for all others") {
  if (::geteuid() != 0) return;
  temporary_folder folder;
  auto all = folder / "all", one = folder / "all/one";
  ::mkdir(all.c_str(), 0755);
  REQUIRE(::mount("none", all.c_str(), "tmpfs", 0, "") == 0);
  // As systemd has it: what is done in a copy of the mount namespace would be done here, too.
  REQUIRE(::mount(nullptr, all.c_str(), nullptr, MS_SHARED, nullptr) == 0);
  ::mkdir(one.c_str(), 0755);
  REQUIRE(::mount("none", one.c_str(), "tmpfs", 0, "") == 0);
  folder.write("all/one/file", "");
  auto seen_by = [&](std::string hidden) {
    auto output = memory_file({});
    auto pid = spawn({.argv = {"/bin/ls", one}, .out = output->get(), .hidden = std::move(hidden), .hidden_in = all});
    REQUIRE(pid);
    int status = -1;
    REQUIRE(::waitpid(*pid, &status, 0) == *pid);
    CHECK(status == 0);
    return read_all(output->get(), 4096);
  };
  CHECK(seen_by({}) == "file\n");
  CHECK(seen_by(one) == "");
  CHECK(seen_by({}) == "file\n");
  CHECK(::umount(one.c_str()) == 0);
  CHECK(::umount(all.c_str()) == 0);
}
