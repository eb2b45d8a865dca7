#include "server/etcd/version_guard.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "reactor/loop.h"

using namespace kedge;
using namespace kedge::server;

namespace {

// A folder as etcd has it, whose database is that text; and a program that says to be that version of etcd.
struct folder {
  explicit folder(const std::string& database) {
    char name[] = "/tmp/kedge-etcd-XXXXXX";
    path = ::mkdtemp(name);
    std::filesystem::create_directories(path + "/member/snap");
    std::ofstream(path + "/member/snap/db", std::ios::binary) << database;
  }
  ~folder() { std::filesystem::remove_all(path); }
  std::string program(const std::string& version) const {
    auto file = path + "/etcd";
    std::ofstream(file) << "#!/bin/sh\necho 'etcd Version: " << version << "'\necho 'Git SHA: x'\n";
    ::chmod(file.c_str(), 0755);
    return file;
  }
  std::string path;
};

}  // namespace

TEST_CASE("etcd: whose files an older one is kept from") {
  CHECK(storage_version(folder(std::string(100, '\0')).path) == "");
  CHECK(storage_version("/nowhere") == "");
  CHECK(storage_version(folder("storageVersionterm").path) == "");
  // Wherever it stands, and whatever stood there before.
  for (std::size_t at : {0, 1024 * 1024 - 17, 1024 * 1024 - 3, 1024 * 1024, 3'000'000}) {
    CAPTURE(at);
    folder f(std::string(at, 'x') + "storageVersion3.6.0term" + std::string(50, '\0') + "storageVersion3.5.0" + '\1');
    CHECK(storage_version(f.path) == "3.6.0");
    auto backend = reactor::make_backend(reactor::io_backend::epoll);
    REQUIRE(backend.has_value());
    reactor::loop loop(*std::move(backend));
    auto older = loop.run_until(check_version(f.program("3.4.23"), f.path));
    REQUIRE(!older.has_value());
    CHECK(older.error().message.find("holds what etcd 3.6.0 has written") != std::string::npos);
    CHECK(loop.run_until(check_version(f.program("3.6.13"), f.path)).has_value());
    CHECK(loop.run_until(check_version(f.program("4.0.0"), f.path)).has_value());
  }
}
