// harness.h: a folder of its own for each test, and SQLite as the test's second opinion.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "datastore/sqlite/sqlite_log.h"
#include "reactor/loop.h"

namespace kedge::datastore {

struct temporary_folder {
  std::string path;
  temporary_folder() {
    char name[] = "/tmp/kedge-datastore-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~temporary_folder() { std::filesystem::remove_all(path); }
  std::string file(std::string_view name) const { return path + "/" + std::string(name); }
};

// A small file system of its own; needs root, as the tests of nodes do.
struct small_disk {
  temporary_folder dir;
  bool mounted;
  explicit small_disk(const char* size) : mounted(::mount("tmpfs", dir.path.c_str(), "tmpfs", 0, size) == 0) {}
  ~small_disk() {
    if (mounted) ::umount2(dir.path.c_str(), MNT_DETACH);
  }
};

inline std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void put_file(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

// Rows as `a|b|c`, NULL spelled out, by a connection of the test's own.
inline std::vector<std::string> query(const std::string& path, const std::string& sql) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  std::vector<std::string> out;
  auto row = [](void* to, int n, char** values, char**) {
    std::string line;
    for (int i = 0; i < n; ++i) line += (i ? "|" : "") + std::string(values[i] ? values[i] : "NULL");
    static_cast<std::vector<std::string>*>(to)->push_back(line);
    return 0;
  };
  char* message = nullptr;
  int code = sqlite3_exec(db, sql.c_str(), row, &out, &message);
  REQUIRE_MESSAGE(code == SQLITE_OK, (message ? message : ""));
  sqlite3_close(db);
  return out;
}

struct runner {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};

  result<std::unique_ptr<log>> open(sqlite_options o) {
    auto l = make_sqlite_log(std::move(o));
    KEDGE_CHECK(loop.run_until(l->open()));
    KEDGE_TRY(auto p, load(*l, 0));
    KEDGE_CHECK(loop.run_until(l->begin()));
    return l;
  }
  result<page> load(log& l, revision after) {
    page all;
    for (;;) {
      KEDGE_TRY(auto p, loop.run_until(l.load(after)));
      all.entries.insert(all.entries.end(), p.entries.begin(), p.entries.end());
      all.at = after = p.at;
      all.compacted = p.compacted;
      if (p.done) return all;
    }
  }
  result<appended> append(log& l, std::vector<operation> ops) {
    return loop.run_until(l.append(std::make_shared<const std::vector<operation>>(std::move(ops))));
  }
  // One operation that must land.
  revision must(log& l, operation op) {
    auto done = append(l, {std::move(op)});
    REQUIRE_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
    REQUIRE(done->outcomes[0].what == outcome::status::committed);
    return done->outcomes[0].at;
  }
};

}  // namespace kedge::datastore
