#include "server/etcd/version_guard.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "reactor/loop.h"
#include "support/bolt.h"

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
  using namespace bolt;
  const entry said{"storageVersion", "3.6.0"}, term{"term", std::string(8, '\1')};
  const auto user = bucket_of("key", {{"a", "storageVersion3.6.0term"}});
  struct {
    std::string database, version;
  } cases[] = {
      {"", ""},
      {std::string(100, '\0'), ""},
      {file({meta(2, 1), meta(2, 0), leaf({user, bucket_of("meta", {said, term})})}), "3.6.0"},
      {file({meta(2, 1), meta(2, 0), leaf({user, bucket_at("meta", 3)}), leaf({said, term})}), "3.6.0"},
      {file({meta(2, 1), meta(2, 0), branch({{"alarm", 3}, {"lease", 4}}), leaf({bucket_at("alarm", 9)}),
             leaf({bucket_at("lease", 9), bucket_at("meta", 5)}), branch({{"a", 6}, {"s", 7}}), leaf({term}),
             leaf({said, term})}),
       "3.6.0"},
      // What a user has stored, and what isn't there any more, says nothing.
      {file({meta(2, 1), meta(2, 0), leaf({user, bucket_of("meta", {term})})}), ""},
      {file({meta(2, 1), meta(3, 2), leaf({user, bucket_of("meta", {said})}), leaf({user, bucket_of("meta", {term})})}),
       ""},
      {file({meta(2, 2), meta(3, 1), leaf({user, bucket_of("meta", {said})}), leaf({user})}), "3.6.0"},
      {file({meta(2, 1), std::string(80, 'x'), leaf({bucket_of("meta", {said})})}), "3.6.0"},
      {file({std::string(80, 'x'), meta(2, 1), leaf({bucket_of("meta", {said})})}), "3.6.0"},
      {file({meta(2, 1), meta(2, 0), leaf({{"meta", "storageVersion"}})}), ""},
      {file({meta(2, 1), meta(2, 0), leaf({bucket_of("meta", {{"storageVersion", "new"}})})}), ""},
      // Damaged: a tree that leads back to itself, and numbers that lead nowhere.
      {file({meta(2, 1), meta(2, 0), branch({{"a", 2}})}), ""},
      {file({meta(~0ull, 1), meta(2, 0), leaf({user})}), ""},
      {file({meta(2, 1), meta(2, 0), header(2, 60000) + std::string(200, '\xff')}), ""},
      {file({meta(2, 1), meta(2, 0), header(1, 60000) + std::string(200, '\xff')}), ""},
      {file({meta(2, 1), meta(2, 0), leaf({{"meta", "short", true}})}), ""},
  };
  CHECK(storage_version("/nowhere") == "");
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    CAPTURE(i);
    folder f(cases[i].database);
    CHECK(storage_version(f.path) == cases[i].version);
    auto backend = reactor::make_backend(reactor::io_backend::epoll);
    REQUIRE(backend.has_value());
    reactor::loop loop(*std::move(backend));
    auto older = loop.run_until(check_version(f.program("3.4.23"), f.path));
    CHECK(older.has_value() == cases[i].version.empty());
    if (!older) CHECK(older.error().message.find("holds what etcd 3.6.0 has written") != std::string::npos);
    CHECK(loop.run_until(check_version(f.program("3.6.13"), f.path)).has_value());
    CHECK(loop.run_until(check_version(f.program("4.0.0"), f.path)).has_value());
  }
}
