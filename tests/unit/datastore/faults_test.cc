// faults_test.cc: a full disk, a disk that became read-only, and the end of the process at any moment.
#include <signal.h>
#include <sys/wait.h>

#include "harness.h"
#include "support/skipped.h"

namespace kedge::datastore {
namespace {

TEST_CASE("on a full disk writes fail clearly, reads go on, and nothing is lost") {
  small_disk disk("size=2m");
  if (!disk.mounted) {
    tests::skip("mounting a tmpfs needs root");
    return;
  }
  runner r;
  auto path = disk.dir.file("state.db");
  auto log = std::move(*r.open({.path = path}));
  std::vector<revision> written;
  result<appended> last;
  for (int i = 0; i < 2'000; ++i) {
    last = r.append(*log, {{change::create, fmt::format("/registry/{}", i), std::string(4'000, 'v')}});
    if (!last) break;
    written.push_back(last->outcomes[0].at);
  }
  REQUIRE(!last.has_value());
  CHECK(last.error().code == errc::exhausted);
  CHECK(last.error().message.find(path) != std::string::npos);
  CHECK(!log->healthy().has_value());
  auto all = r.load(*log, 0);
  REQUIRE(all.has_value());
  CHECK(all->entries.size() == written.size() + 1);

  // Room again: the next write works, without a hole.
  REQUIRE(::mount("tmpfs", disk.dir.path.c_str(), "tmpfs", MS_REMOUNT, "size=8m") == 0);
  CHECK(r.must(*log, {change::create, "/registry/again", "v"}) == written.back() + 1);
  CHECK(log->healthy().has_value());
  r.loop.run_until(log->close());
  auto again = std::move(*r.open({.path = path}));
  CHECK(r.load(*again, 0)->entries.size() == written.size() + 2);
}

TEST_CASE("on a disk that became read-only writes fail clearly and go on when it can be written to again") {
  small_disk disk("size=8m");
  if (!disk.mounted) return;
  auto path = disk.dir.file("state.db");
  runner r;
  {
    auto log = std::move(*r.open({.path = path}));
    r.must(*log, {change::create, "/registry/a", "v"});
    r.loop.run_until(log->close());
  }
  REQUIRE(::mount("tmpfs", disk.dir.path.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=8m") == 0);
  auto refused = r.open({.path = path});
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == errc::io);
  CHECK(refused.error().message.find("read-only") != std::string::npos);
  REQUIRE(::mount("tmpfs", disk.dir.path.c_str(), "tmpfs", MS_REMOUNT, "size=8m") == 0);
  auto log = r.open({.path = path});
  REQUIRE(log.has_value());
  CHECK(r.load(**log, 0)->entries.size() == 2);
}

// The child writes as fast as it can and tells each acknowledged name through a pipe; it never returns.
[[noreturn]] void write_until_killed(const std::string& path, int acknowledged) {
  runner r;
  auto log = std::move(*r.open({.path = path}));
  auto begin = *r.loop.run_until(log->current());
  for (int i = 0;; ++i) {
    std::vector<operation> ops;
    for (int j = 0; j < 8; ++j)
      ops.push_back({change::create, fmt::format("/registry/{}-{}-{}", begin, i, j), std::string(700, 'v')});
    auto done = r.append(*log, ops);
    if (!done) ::_exit(1);
    for (std::size_t j = 0; j < ops.size(); ++j) {
      auto line = fmt::format("{} {}\n", done->outcomes[j].at, ops[j].name);
      if (::write(acknowledged, line.data(), line.size()) < 0) ::_exit(1);
    }
    if (i % 7 == 3) r.loop.run_until(log->compact(*r.loop.run_until(log->current()) / 2));
  }
}

TEST_CASE("every acknowledged write is there after kill -9 at any moment") {
  temporary_folder dir;
  auto path = dir.file("state.db");
  std::vector<std::string> acknowledged;
  for (int round = 0; round < 12; ++round) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    auto child = ::fork();
    if (child == 0) {
      ::close(ends[0]);
      write_until_killed(path, ends[1]);
    }
    ::close(ends[1]);
    std::string told;
    // Moments that fall into opening, writing, checkpointing and compacting alike.
    std::thread killer([&] {
      ::usleep(static_cast<useconds_t>(3'000 + system_random().below(120'000)));
      ::kill(child, SIGKILL);
    });
    char buffer[65536];
    for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) told.append(buffer, static_cast<std::size_t>(n));
    ::close(ends[0]);
    killer.join();
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status));
    for (std::size_t at = 0, end; (end = told.find('\n', at)) != std::string::npos; at = end + 1)
      acknowledged.push_back(told.substr(at, end - at));

    runner r;
    auto log = r.open({.path = path});
    REQUIRE(log.has_value());
    auto all = r.load(**log, 0);
    REQUIRE(all.has_value());
    std::vector<std::string> there;
    for (auto& e : all->entries) there.push_back(fmt::format("{} {}", e.at, e.name));
    std::sort(there.begin(), there.end());
    for (auto& line : acknowledged) {
      bool found = std::binary_search(there.begin(), there.end(), line);
      CHECK_MESSAGE(found, line);
    }
    if (round % 3 == 0) r.loop.run_until((*log)->close());
  }
  CHECK(acknowledged.size() > 100);
  CHECK(query(path, "PRAGMA integrity_check") == std::vector<std::string>{"ok"});
}

}  // namespace
}  // namespace kedge::datastore
