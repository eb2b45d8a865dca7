// space_test.cc: the file of a database that once was large becomes small again, while it is being written to, and
// whatever happens meanwhile.
#include <algorithm>

#include <signal.h>
#include <sys/wait.h>

#include "harness.h"

namespace kedge::datastore {
namespace {

using std::chrono::milliseconds;

constexpr int fat_rows = 400, fat_bytes = 100'000;  // 40 MB
constexpr std::size_t small = 9 * 1024 * 1024;      // with what is kept for the next writes

std::size_t size_of(const std::string& path) { return std::filesystem::file_size(path); }

// As kine makes it, with its indexes; `live` rows stay, 40 MB were removed and compacted.
void make_k3s_file(const std::string& path, int live) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  auto run = [&](const std::string& sql) {
    char* why = nullptr;
    auto code = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &why);
    REQUIRE_MESSAGE(code == SQLITE_OK, sql << ": " << (why ? why : ""));
  };
  run("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; BEGIN;"
      "CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, created INTEGER, deleted INTEGER, "
      "create_revision INTEGER,"
      " prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);"
      "CREATE INDEX kine_name_index ON kine (name); CREATE INDEX kine_name_id_index ON kine (name, id);"
      "CREATE INDEX kine_id_deleted_index ON kine (id, deleted); CREATE INDEX kine_prev_revision_index ON kine "
      "(prev_revision);"
      "CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);"
      "CREATE INDEX kine_id_compact_rev_key_with_prev_revision_index ON kine (id, name, prev_revision) WHERE name != "
      "'compact_rev_key' AND prev_revision != 0;"
      "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES "
      "('compact_rev_key', 1, 0, 0, 0, 0, ''),"
      " ('/registry/health', 1, 0, 0, 0, 0, '{\"health\":\"true\"}')");
  for (int i = 0; i < fat_rows; ++i)
    run(
        fmt::format("INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES "
                    "('/registry/fat/{}', 1, 0, 0, 0, 0, "
                    "zeroblob({}))",
                    i, fat_bytes));
  for (int i = 0; i < live; ++i)
    run(
        fmt::format("INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES "
                    "('/registry/live/{}', 1, 0, 0, 0, 0, "
                    "CAST('value {}' AS BLOB))",
                    i, i));
  run("DELETE FROM kine WHERE name LIKE '/registry/fat/%'; UPDATE kine SET prev_revision = 300 WHERE name = "
      "'compact_rev_key'; COMMIT");
  REQUIRE(sqlite3_wal_checkpoint_v2(db, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  CHECK(query(path, "PRAGMA auto_vacuum") == std::vector<std::string>{"0"});
}

// Turns the loop until it is so.
template <typename F>
bool until(runner& r, F condition, milliseconds limit = milliseconds(60'000)) {
  auto end = monotonic_clock::now() + limit;
  while (!condition()) {
    if (monotonic_clock::now() > end) return false;
    r.loop.run_until([]() -> task<void> { co_await reactor::sleep_for(milliseconds(5)); }());
  }
  return true;
}

TEST_CASE("what compaction has freed goes back to the file system by itself, and the writes go on") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  auto log = std::move(*r.open({.path = path}));
  std::vector<revision> made;
  for (int i = 0; i < fat_rows; ++i)
    made.push_back(r.must(*log, {change::create, fmt::format("/registry/fat/{}", i), std::string(fat_bytes, 'x')}));
  r.must(*log, {change::create, "/registry/kept", "v"});
  revision last = 0;
  for (int i = 0; i < fat_rows; ++i)
    last = r.must(*log, {change::remove, fmt::format("/registry/fat/{}", i), "", made[static_cast<std::size_t>(i)],
                         made[static_cast<std::size_t>(i)]});
  CHECK(size_of(path) + size_of(path + "-wal") > std::size_t(fat_rows) * fat_bytes);
  REQUIRE(r.loop.run_until(log->compact(last)).has_value());
  int written = 0;
  duration slowest{};
  CHECK(until(r, [&] {
    auto before = monotonic_clock::now();
    r.must(*log, {change::create, fmt::format("/registry/n/{}", written++), std::string(1000, 'v')});
    slowest = std::max(slowest, monotonic_clock::now() - before);
    return log->occupied() && log->occupied()->bytes < small && size_of(path) < small;
  }));
  MESSAGE("slowest of " << written << " writes meanwhile: "
                        << std::chrono::duration<double, std::milli>(slowest).count() << " ms");
  auto space = log->occupied();
  REQUIRE(space.has_value());
  CHECK(space->bytes < small);
  CHECK(space->free < space->bytes);
  // For the impatient: nothing is kept.
  REQUIRE(r.loop.run_until(log->give_back()).has_value());
  CHECK(log->occupied()->free == 0);
  CHECK(r.load(*log, 0)->entries.size() == static_cast<std::size_t>(written) + 2);
  r.loop.run_until(log->close());
  CHECK(query(path, "PRAGMA auto_vacuum; PRAGMA integrity_check") == std::vector<std::string>{"2", "ok"});
}

TEST_CASE("a file of K3s's is rewritten in steps while it is written to, and has all that it had") {
  temporary_folder dir;
  auto path = dir.file("state.db");
  make_k3s_file(path, 5'000);
  auto large = size_of(path);
  auto indexes = query(path, "SELECT name || ' ' || sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1");
  auto rows = query(path,
                    "SELECT id, name, created, deleted, create_revision, prev_revision, lease, value, old_value FROM "
                    "kine ORDER BY id");
  ::chmod(path.c_str(), 0640);
  runner r;
  auto log = std::move(*r.open({.path = path}));
  auto before = r.load(*log, 0);
  // Others look for the lock all the time. Whoever gets it, for the moment in which one file takes the other's place,
  // has all of it.
  std::atomic<bool> looking{true}, wrong{false};
  std::thread stranger([&] {
    while (looking) {
      sqlite3* db = nullptr;
      sqlite3_stmt* count = nullptr;
      if (sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE, nullptr) == SQLITE_OK &&
          sqlite3_exec(db, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr) == SQLITE_OK &&
          sqlite3_prepare_v2(db, "SELECT count(*) FROM kine", -1, &count, nullptr) == SQLITE_OK &&
          sqlite3_step(count) == SQLITE_ROW)
        wrong = wrong || sqlite3_column_int(count, 0) < 5'002;
      sqlite3_finalize(count);
      sqlite3_close(db);
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  int written = 0;
  duration slowest{};
  CHECK(until(r, [&] {
    auto began = monotonic_clock::now();
    auto done = r.append(*log, {{change::create, fmt::format("/registry/n/{}", written), std::string(1000, 'v')}});
    if (done) ++written;
    // That one of the others has it just then is all that may go wrong.
    if (!done) CHECK(done.error().code == errc::unavailable);
    slowest = std::max(slowest, monotonic_clock::now() - began);
    return size_of(path) < small && !std::filesystem::exists(path + "-rewrite");
  }));
  MESSAGE("a file of " << large / 1000000 << " MB; slowest of " << written
                       << " writes meanwhile: " << std::chrono::duration<double, std::milli>(slowest).count() << " ms");
  for (int i = 0; i < 20; ++i) r.must(*log, {change::create, fmt::format("/registry/after/{}", i), "v"});
  auto all = r.load(*log, 0);
  CHECK(all->entries.size() == before->entries.size() + static_cast<std::size_t>(written) + 20);
  CHECK(all->compacted == before->compacted);
  looking = false;
  stranger.join();
  CHECK(!wrong);
  r.loop.run_until(log->close());
  CHECK(query(path, "PRAGMA auto_vacuum; PRAGMA integrity_check") == std::vector<std::string>{"2", "ok"});
  CHECK(query(path, "SELECT name || ' ' || sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1") == indexes);
  auto kept = query(path, fmt::format("SELECT id, name, created, deleted, create_revision, prev_revision, lease, "
                                      "value, old_value FROM kine ORDER BY id LIMIT {}",
                                      rows.size()));
  CHECK(kept == rows);
  struct stat file{};
  REQUIRE(::stat(path.c_str(), &file) == 0);
  CHECK((file.st_mode & 07777) == 0640);
  // And from then on space goes back without that.
  auto again = std::move(*r.open({.path = path}));
  CHECK(again->occupied().value_or(space{}).bytes < small);
  r.loop.run_until(again->close());
}

TEST_CASE("a file with more in it than kine's table, or without room for a copy, stays as it is and is written to") {
  small_disk disk("size=130m");
  auto path = disk.dir.file("state.db");
  make_k3s_file(path, 10);
  SUBCASE("another table") { query(path, "CREATE TABLE mine (x)"); }
  SUBCASE("no room") {
    if (!disk.mounted) return;
    // 20 MB live, 20 MB are free; and there are no 25 MB on the disk.
    query(path,
          "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES "
          "('/registry/large', 1, 0, 0, 0, 0, "
          "zeroblob(20000000))");
    query(path, "PRAGMA wal_checkpoint(TRUNCATE)");
    auto left = std::filesystem::space(disk.dir.path).available;
    put_file(disk.dir.file("filler"), std::string(left - 12'000'000, 'x'));
  }
  auto large = size_of(path);
  runner r;
  auto log = std::move(*r.open({.path = path}));
  REQUIRE(until(r, [&] { return log->occupied().has_value(); }));
  for (int i = 0; i < 20; ++i) {
    r.must(*log, {change::create, fmt::format("/registry/n/{}", i), "v"});
    until(r, [] { return false; }, milliseconds(5));
  }
  r.loop.run_until(log->close());
  CHECK(size_of(path) >= large);
  CHECK(!std::filesystem::exists(path + "-rewrite"));
  CHECK(query(path, "SELECT count(*) FROM kine WHERE name LIKE '/registry/n/%'") == std::vector<std::string>{"20"});
}

TEST_CASE("kill -9 at any moment of a rewrite: every acknowledged write is there, and the next start finishes it") {
  temporary_folder dir;
  auto path = dir.file("state.db");
  make_k3s_file(path, 3'000);
  std::vector<std::string> acknowledged;
  for (int round = 0; round < 12; ++round) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    auto child = ::fork();
    if (child == 0) {
      ::close(ends[0]);
      runner r;
      auto log = std::move(*r.open({.path = path}));
      // No more than a file that is small can hold, however quick the machine is.
      for (int i = 0;; ++i) {
        if (i == 200) ::pause();
        auto name = fmt::format("/registry/r{}/{}", round, i);
        auto done = r.append(*log, {{change::create, name, std::string(300, 'v')}});
        auto line = name + "\n";
        if (!done || ::write(ends[1], line.data(), line.size()) < 0) ::_exit(1);
      }
    }
    ::close(ends[1]);
    std::thread killer([&] {
      ::usleep(static_cast<useconds_t>(5'000 + system_random().below(400'000)));
      ::kill(child, SIGKILL);
    });
    std::string told;
    char buffer[65536];
    for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) told.append(buffer, static_cast<std::size_t>(n));
    ::close(ends[0]);
    killer.join();
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status));
    for (std::size_t at = 0, end; (end = told.find('\n', at)) != std::string::npos; at = end + 1)
      acknowledged.push_back(told.substr(at, end - at));
  }
  runner r;
  auto log = std::move(*r.open({.path = path}));
  CHECK(until(r, [&] { return size_of(path) < small && !std::filesystem::exists(path + "-rewrite"); }));
  auto all = r.load(*log, 0);
  std::vector<std::string> there;
  for (auto& e : all->entries) there.push_back(e.name);
  std::sort(there.begin(), there.end());
  std::string missing;
  for (auto& name : acknowledged)
    if (!std::binary_search(there.begin(), there.end(), name)) missing += name + " ";
  CHECK(missing == "");
  for (int i = 0; i < 3'000; ++i)
    CHECK(std::binary_search(there.begin(), there.end(), fmt::format("/registry/live/{}", i)));
  CHECK(acknowledged.size() > 100);
  r.loop.run_until(log->close());
  CHECK(query(path, "PRAGMA integrity_check") == std::vector<std::string>{"ok"});
}

}  // namespace
}  // namespace kedge::datastore
