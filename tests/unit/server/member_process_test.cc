#include "server/etcd/member_process.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "reactor/loop.h"

using namespace kedge;
using namespace kedge::server;
using namespace std::chrono_literals;

namespace {

// Where programs may run.
struct folder {
  folder() {
    char name[] = "/tmp/kedge-member-XXXXXX";
    path = ::mkdtemp(name);
  }
  folder(const folder&) = delete;
  ~folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

// An etcd that says that line when it is started first, and ends; and then goes on. Gives why it isn't started again;
// nothing: it was.
std::optional<error> started_after(std::string_view line) {
  const folder at;
  const auto program = at.path + "/etcd", again = at.path + "/again", first = at.path + "/first";
  std::ofstream(at.path + "/line") << line << '\n';
  std::ofstream(program) << "#!/bin/sh\ncd " << at.path
                         << "\n[ -e first ] && : >again && exec sleep 1000\n: >first\ncat line >&2\nexit 1\n";
  ::chmod(program.c_str(), 0755);
  auto backend = reactor::make_backend(reactor::io_backend::epoll);
  REQUIRE(backend.has_value());
  reactor::loop loop(*std::move(backend));
  return loop.run_until([](std::string binary, std::string dir, std::string mark) -> task<std::optional<error>> {
    member_process etcd(
        {.binary = std::move(binary), .data = dir + "/data", .certificates = dir, .log_file = dir + "/log"});
    REQUIRE(etcd.start());
    while (!etcd.gave_up().is_set() && !std::filesystem::exists(mark)) co_await reactor::sleep_for(10ms);
    std::optional<error> why;
    if (etcd.gave_up().is_set()) why = etcd.why();
    co_await etcd.stop();
    co_return why;
  }(program, at.path, again));
}

}  // namespace

TEST_CASE("etcd: a member is removed when etcd says so, and not when somebody has called a thing so") {
  constexpr std::string_view before =
      R"({"level":"warn","ts":"2026-01-02T00:00:00.000Z","caller":"etcdserver/server.go:1")";
  auto removed = started_after(std::string(before) + R"(,"msg":"data-dir used by this member must be removed"})");
  REQUIRE(removed.has_value());
  CHECK(removed->code == errc::expired);
  auto older = started_after(std::string(before) +
                             R"(,"msg":"invalid downgrade; server version is lower than determined cluster version"})");
  REQUIRE(older.has_value());
  CHECK(older->code == errc::unsupported);
  for (auto name :
       {R"(data-dir used by this member must be removed)",
        R"(\"msg\":\"data-dir used by this member must be removed\")", "lower than determined cluster version"})
    CHECK_FALSE(started_after(std::string(before) +
                              R"(,"msg":"apply request took too long","request":"key:\"/registry/roles/a/)" + name +
                              R"(\""})"));
}
