#include "harness.h"

namespace kedge::datastore {
namespace {

using std::chrono::milliseconds;

const char* all_rows =
    "SELECT id, name, created, deleted, create_revision, prev_revision, lease, CAST(value AS TEXT), CAST(old_value AS "
    "TEXT) FROM kine ORDER BY id";

TEST_CASE("rows are kine's") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  auto l = r.open({.path = path});
  REQUIRE(l.has_value());
  auto& log = **l;
  auto made = r.must(log, {change::create, "/registry/a", "one"});
  CHECK(made == 3);
  auto updated = r.must(log, {change::update, "/registry/a", "two", made, made});
  auto gone = r.must(log, {change::remove, "/registry/a", "", updated, made});
  auto again = r.must(log, {change::create, "/registry/a", "three", 0, 0, 60});
  CHECK(again == 6);
  auto refused = r.append(log, {{change::create, "/registry/a", "four"}});
  CHECK(refused->outcomes[0].what == outcome::status::conflict);
  CHECK(refused->outcomes[0].at == again);
  CHECK(*r.loop.run_until(log.current()) == 6);
  r.loop.run_until(log.close());

  CHECK(gone == 5);
  CHECK(query(path, all_rows) == std::vector<std::string>{
                                     "1|compact_rev_key|1|0|0|0|0||NULL",
                                     R"(2|/registry/health|1|0|0|0|0|{"health":"true"}|NULL)",
                                     "3|/registry/a|1|0|0|0|0|one|NULL",
                                     "4|/registry/a|0|0|3|3|0|two|one",
                                     "5|/registry/a|0|1|0|4|0|NULL|two",
                                     "6|/registry/a|1|0|0|5|60|three|NULL",
                                 });
  CHECK(query(path, "PRAGMA journal_mode") == std::vector<std::string>{"wal"});
  CHECK(!std::filesystem::exists(path + "-wal"));
}

TEST_CASE("a row that something else has written is found, and what became of the write is to be read") {
  temporary_folder dir;
  runner r;
  auto l = r.open({.path = dir.file("state.db")});
  REQUIRE(l.has_value());
  auto& log = **l;
  auto made = r.must(log, {change::create, "/registry/a", "one"});
  auto updated = r.must(log, {change::update, "/registry/a", "two", made, made});
  // As if that had been another program's.
  auto refused = r.append(log, {{change::update, "/registry/a", "three", made, made}});
  REQUIRE(!refused);
  CHECK(refused.error().code == errc::unknown_outcome);
  CHECK(refused.error().message.find("something else has written to it") != std::string::npos);
  CHECK(refused.error().message.find("restart") == std::string::npos);
  auto all = r.load(log, made);
  REQUIRE(all);
  REQUIRE(all->entries.size() == 1);
  CHECK(all->entries[0].at == updated);
  CHECK(r.must(log, {change::update, "/registry/a", "three", updated, made}) == updated + 1);
  r.loop.run_until(log.close());
}

TEST_CASE("a batch is one commit, in order, and load gives it back in pages") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  for (auto durability : {sqlite_durability::normal, sqlite_durability::full}) {
    std::filesystem::remove(path);
    auto log = std::move(*r.open({.path = path, .durability = durability}));
    std::vector<operation> ops;
    for (int i = 0; i < 5'000; ++i)
      ops.push_back({change::create, fmt::format("/registry/{}", i), std::string(100, 'v')});
    auto done = r.append(*log, ops);
    REQUIRE(done.has_value());
    for (std::size_t i = 0; i < ops.size(); ++i) CHECK(done->outcomes[i].at == 3 + i);
    auto page = r.loop.run_until(log->load(0));
    CHECK(!page->done);
    CHECK(page->entries.size() < ops.size());
    auto all = r.load(*log, 0);
    CHECK(all->entries.size() == ops.size() + 1);  // health; the compaction mark is no entry
    CHECK(all->at == 5'002);
    r.loop.run_until(log->close());
  }
}

TEST_CASE("compaction forgets what was replaced and what was removed, keeps what exists and what is newer") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  auto log = std::move(*r.open({.path = path}));
  revision a = r.must(*log, {change::create, "/registry/a", "0"}), first = a;
  for (int i = 1; i <= 1'500; ++i) a = r.must(*log, {change::update, "/registry/a", std::to_string(i), a, first});
  auto b = r.must(*log, {change::create, "/registry/b", "0"});
  auto removed = r.must(*log, {change::remove, "/registry/b", "", b, b});
  auto after = r.must(*log, {change::update, "/registry/a", "last", a, first});
  REQUIRE(r.loop.run_until(log->compact(removed)).has_value());
  auto all = r.load(*log, 0);
  REQUIRE(all.has_value());
  CHECK(all->compacted == removed);
  std::vector<std::string> left;
  for (auto& e : all->entries) left.push_back(fmt::format("{} {}", e.name, e.at));
  CHECK(left == std::vector<std::string>{"/registry/health 2", fmt::format("/registry/a {}", a),
                                         fmt::format("/registry/a {}", after)});
  // A name whose tombstone is gone starts anew.
  r.must(*log, {change::create, "/registry/b", "1"});
  r.loop.run_until(log->close());
  CHECK(query(path, "SELECT prev_revision FROM kine WHERE name = 'compact_rev_key'") ==
        std::vector<std::string>{std::to_string(removed)});
  CHECK(query(path, "SELECT prev_revision FROM kine WHERE name = '/registry/b'") == std::vector<std::string>{"0"});
}

TEST_CASE("a second opener is told who holds the file and what to do") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  auto log = std::move(*r.open({.path = path}));
  r.must(*log, {change::create, "/registry/a", "0"});
  auto before = monotonic_clock::now();
  auto second = r.open({.path = path, .lock_wait = milliseconds(200)});
  CHECK(monotonic_clock::now() - before < std::chrono::seconds(5));
  REQUIRE(!second.has_value());
  CHECK(second.error().code == errc::unavailable);
  CHECK(second.error().message.find(path) != std::string::npos);
  CHECK(second.error().message.find("another process uses this file") != std::string::npos);
  r.must(*log, {change::create, "/registry/b", "0"});
  r.loop.run_until(log->close());
  CHECK(r.open({.path = path, .lock_wait = milliseconds(0)}).has_value());
}

TEST_CASE("a file that another program holds is waited for") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  {
    auto log = std::move(*r.open({.path = path}));
    r.loop.run_until(log->close());
  }
  sqlite3* other = nullptr;  // as K3s: WAL, shared locks
  REQUIRE(sqlite3_open(path.c_str(), &other) == SQLITE_OK);
  REQUIRE(sqlite3_exec(other, "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  CHECK(r.open({.path = path, .lock_wait = milliseconds(100)}).error().code == errc::unavailable);
  std::thread leaves([&] {
    std::this_thread::sleep_for(milliseconds(200));
    sqlite3_close(other);
  });
  CHECK(r.open({.path = path, .lock_wait = milliseconds(20'000)}).has_value());
  leaves.join();
}

TEST_CASE("what is no usable database is left as it is") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  {
    auto log = std::move(*r.open({.path = path}));
    std::vector<operation> ops;
    for (int i = 0; i < 500; ++i)
      ops.push_back({change::create, fmt::format("/registry/{}", i), std::string(500, 'v')});
    REQUIRE(r.append(*log, std::move(ops)).has_value());
    r.loop.run_until(log->close());
  }
  auto good = content(path);
  auto with_hole = good;
  for (std::size_t i = 4096; i < with_hole.size(); ++i) with_hole[i] = static_cast<char>(i * 31);
  struct row {
    const char* what;
    std::string bytes;
  };
  row rows[] = {{"text", "this is not a database"},
                {"long text", std::string(10'000, 'x')},
                {"cut in its header", good.substr(0, 60)},
                {"cut in the middle", good.substr(0, good.size() / 2)},
                {"pages overwritten", with_hole}};
  for (auto& bad : rows) {
    CAPTURE(bad.what);
    put_file(path, bad.bytes);
    auto opened = r.open({.path = path});
    REQUIRE(!opened.has_value());
    CHECK(opened.error().code == errc::corrupt);
    CHECK(opened.error().message.find(path) != std::string::npos);
    CHECK(opened.error().message.find("restore it from a backup") != std::string::npos);
    CHECK(content(path) == bad.bytes);
    CHECK((!std::filesystem::exists(path + "-wal") || std::filesystem::file_size(path + "-wal") == 0));
  }
  put_file(path, good);
  CHECK(r.open({.path = path}).has_value());
}

TEST_CASE("a table of another shape, a trigger, or a folder that isn't there") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  query(path, "CREATE TABLE kine (id INTEGER PRIMARY KEY, name TEXT)");
  CHECK(r.open({.path = path}).error().code == errc::unsupported);
  std::filesystem::remove(path);
  {
    auto log = std::move(*r.open({.path = path}));
    r.loop.run_until(log->close());
  }
  query(path, "CREATE TRIGGER t AFTER INSERT ON kine BEGIN DELETE FROM kine; END");
  auto refused = r.open({.path = path});
  CHECK(refused.error().code == errc::unsupported);
  CHECK(refused.error().message.find("trigger \"t\"") != std::string::npos);
  CHECK(r.open({.path = dir.file("no/such/folder/state.db")}).error().code == errc::not_found);
}

TEST_CASE("after a crash of the machine no revision is used twice") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  auto start = [&](std::string boot, sqlite_durability d = sqlite_durability::normal) {
    return std::move(*r.open({.path = path, .durability = d, .boot_id = std::move(boot)}));
  };
  auto log = start("boot-1");
  auto a = r.must(*log, {change::create, "/registry/a", "0"});
  log.reset();  // kill -9: no mark

  log = start("boot-1");  // the same boot: nothing was lost
  auto b = r.must(*log, {change::create, "/registry/b", "0"});
  CHECK(b == a + 1);
  log.reset();

  log = start("boot-2");  // the machine went down meanwhile
  auto all = r.load(*log, 0);
  CHECK(all->compacted == b + 1'000'000);
  CHECK(all->entries.back().kind == change::remove);  // the row at the new height
  auto c = r.must(*log, {change::create, "/registry/c", "0"});
  CHECK(c == b + 1'000'001);
  r.loop.run_until(log->close());
  log.reset();

  log = start("boot-3", sqlite_durability::full);  // a clean stop before it
  auto d = r.must(*log, {change::create, "/registry/d", "0"});
  CHECK(d == c + 1);
  log.reset();

  log = start("boot-4", sqlite_durability::full);  // every commit was on disk
  CHECK(r.must(*log, {change::create, "/registry/e", "0"}) == d + 1);
}

TEST_CASE("memory and file that differ are found out, and nothing is written over") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  auto log = std::move(*r.open({.path = path}));
  auto a = r.must(*log, {change::create, "/registry/a", "0"});
  r.must(*log, {change::update, "/registry/a", "1", a, a});
  auto stale = r.append(*log, {{change::create, "/registry/b", "0"}, {change::update, "/registry/a", "2", a, a}});
  REQUIRE(!stale.has_value());
  CHECK(stale.error().code == errc::unknown_outcome);
  CHECK(!log->healthy().has_value());
  CHECK(r.load(*log, 0)->entries.size() == 3);  // health and two of a: the whole group was taken back
  r.must(*log, {change::create, "/registry/b", "0"});
  CHECK(log->healthy().has_value());
}

}  // namespace
}  // namespace kedge::datastore
