#include "crypto/files.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "workbench.h"

using namespace kedge;
using namespace kedge::crypto;

namespace {
unsigned mode_of(const std::string& path) {
  struct stat s{};
  REQUIRE(::stat(path.c_str(), &s) == 0);
  return s.st_mode & 07777;
}
}  // namespace

TEST_CASE("a file is replaced whole, with the mode and time that are asked") {
  workbench w;
  auto path = w.path("passwd");
  REQUIRE(write_file(path, "one", {.mode = 0600}));
  CHECK(mode_of(path) == 0600);
  auto when = wall_time(std::chrono::seconds(1795236632) + std::chrono::nanoseconds(123456789));
  REQUIRE(write_file(path, "two", {.mode = 0644, .modified = when}));
  CHECK(mode_of(path) == 0644);
  CHECK(read_file(path).value() == "two");
  CHECK(modified_time(path).value() == when);
  CHECK(modified_time(path + ".tmp").error().code == errc::not_found);
}

TEST_CASE("a left-over temporary file is no trap") {
  workbench w;
  w.put("victim", "untouched");
  REQUIRE(::symlink(w.path("victim").c_str(), w.path("token.tmp").c_str()) == 0);
  REQUIRE(write_file(w.path("token"), "secret"));
  CHECK(w.get("victim") == "untouched");
  CHECK(w.get("token") == "secret");
}

TEST_CASE("reading is bounded, and absence is told apart") {
  workbench w;
  w.put("big", std::string(100, 'x'));
  CHECK(read_file(w.path("big"), 99).error().code == errc::too_large);
  CHECK(read_file(w.path("big"), 100).value().size() == 100);
  CHECK(read_file(w.path("none")).error().code == errc::not_found);
  CHECK(write_file(w.path("none/file"), "x").error().code == errc::not_found);
}

TEST_CASE("folders are made with their parents") {
  workbench w;
  REQUIRE(make_folder(w.path("server/tls/etcd"), 0700));
  CHECK(mode_of(w.path("server/tls")) == 0700);
  CHECK(make_folder(w.path("server/tls/etcd")));
  w.put("file", "");
  CHECK(!make_folder(w.path("file/below")));
}
