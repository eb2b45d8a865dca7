// kine_test.cc: what holds in every database that is shared with kine, which numbers rows when they are inserted and
// shows them when they are committed: late rows, gaps, peers, a database that vanishes.
#include <doctest/doctest.h>

#include <list>

#include "cutting_proxy.h"
#include "mysql_database.h"
#include "postgres_database.h"
#include "runner.h"

TYPE_TO_STRING_AS("PostgreSQL", kedge::datastore::postgres_test_database);
TYPE_TO_STRING_AS("MySQL", kedge::datastore::mysql_test_database);

namespace kedge::datastore {

using namespace std::chrono_literals;

#define KINE_DATABASES postgres_test_database, mysql_test_database

TEST_CASE_TEMPLATE("servers that start at the same moment make one database", database, KINE_DATABASES) {
  auto db = database("together").made();
  runner r;
  std::vector<std::unique_ptr<server>> all;
  int up = 0;
  reactor::scope group;
  for (int i = 0; i < 5; ++i) {
    all.push_back(std::make_unique<server>(db));
    group.spawn([](server& s, int& n) -> task<void> {
      auto done = co_await s.start();
      CHECK_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
      if (done) ++n;
    }(*all.back(), up));
  }
  REQUIRE(r.until([&] { return group.size() == 0; }));
  CHECK(up == 5);
  CHECK(db.sql()("SELECT count(*), count(DISTINCT name) FROM kine WHERE name NOT LIKE 'gap-%'")[0] == "2|2");
  for (auto& s : all) r.end(*s);
}

TEST_CASE_TEMPLATE("a row that commits late is given in its place, and nothing above it before", database,
                   KINE_DATABASES) {
  database db("late");
  runner r;
  server s(db);
  r.must(s.start());
  auto slow = db.sql(), fast = db.sql();
  slow("BEGIN");
  slow(db.created("/registry/slow"));  // id 3, not visible
  fast(db.created("/registry/fast"));  // id 4
  reactor::scope group;
  group.spawn(
      [](server& one) -> task<void> { (void)co_await one.catch_up(4, reactor::loop::current().now() + patience); }(s));
  // The owner of id 3 is still there, so it is waited for.
  CHECK(!r.until([&] { return s.applied() > 2; }, 700ms));
  // Reading what is in memory goes on; the newest revision is known to be more.
  CHECK(r.must(s.raw().current()) == 4);
  slow("COMMIT");
  CHECK(r.until([&] { return s.applied() == 4; }));
  REQUIRE(s.history().size() >= 2);
  CHECK(s.history()[s.history().size() - 2].name == "/registry/slow");
  CHECK(s.history().back().name == "/registry/fast");
  r.end(s);
}

TEST_CASE_TEMPLATE("an own write above a peer's unfinished one is acknowledged only when that is known", database,
                   KINE_DATABASES) {
  database db("above");
  runner r;
  server s(db);
  r.must(s.start());
  auto slow = db.sql();
  slow("BEGIN");
  slow(db.created("/registry/slow"));  // id 3
  bool done = false;
  reactor::scope group;
  group.spawn([](server& one, bool& flag) -> task<void> {
    auto w = co_await one.write({create("/registry/mine", "v")});
    CHECK(w.has_value());
    if (w) CHECK((*w)[0].at == 4);
    flag = true;
  }(s, done));
  CHECK(!r.until([&] { return done; }, 500ms));
  slow("ROLLBACK");
  CHECK(r.until([&] { return done; }));
  CHECK(s.heads().contains("/registry/mine"));
  CHECK(!s.heads().contains("/registry/slow"));
  r.end(s);
}

TEST_CASE_TEMPLATE("a gap that nobody can fill any more costs nothing, whatever its size", database, KINE_DATABASES) {
  database db("holes");
  runner r;
  server s(db), other(db);
  r.must(s.start());
  r.must(other.start());
  auto peer = db.sql();
  for (int i = 0; i < 200; ++i) {
    // Each second insert burns an id.
    peer(db.created(fmt::format("/registry/{}", i)));
    CHECK(!peer.tries(db.created(fmt::format("/registry/{}", i))));
  }
  auto before = monotonic_clock::now();
  r.must(s.catch_up(401, r.in(patience)));
  MESSAGE("200 holes took " << std::chrono::duration<double, std::milli>(monotonic_clock::now() - before).count()
                            << " ms");
  CHECK(s.heads().size() == 201);
  peer(db.passed(1'000'000'000));
  peer(db.created("/registry/far"));
  before = monotonic_clock::now();
  for (auto* one : {&s, &other}) r.must(one->catch_up(1'000'000'001, r.in(patience)));
  auto took = monotonic_clock::now() - before;
  MESSAGE("a gap of 999,999,600 took " << std::chrono::duration<double, std::milli>(took).count() << " ms");
  CHECK(s.heads().contains("/registry/far"));
  CHECK(r.must(s.write({create("/registry/after", "v")}))[0].at == 1'000'000'002);
  server late(db);
  r.must(late.start());
  CHECK(late.applied() == 1'000'000'002);
  CHECK(late.heads().size() == s.heads().size());
  CHECK(peer("SELECT count(*) FROM kine WHERE name LIKE 'gap-%'")[0] == "0");
  for (auto* one : {&s, &other, &late}) r.end(*one);
}

TEST_CASE_TEMPLATE("a gap waits for who may still fill it, and for nobody who began later", database, KINE_DATABASES) {
  database db("gaps");
  runner r;
  server s(db);
  r.must(s.start());
  auto slow = db.sql(), fast = db.sql();
  slow("BEGIN");
  slow(db.created("/registry/slow"));                  // id 3, not visible
  CHECK(!fast.tries(db.created("/registry/health")));  // 4
  fast(db.created("/registry/fast"));                  // 5
  reactor::scope group;
  group.spawn(
      [](server& one) -> task<void> { (void)co_await one.catch_up(5, reactor::loop::current().now() + patience); }(s));
  CHECK(!r.until([&] { return s.applied() > 2; }, 300ms));
  // Others hold the same lock all the time, one after the other.
  std::list<typename database::session> more;
  for (int i = 0; i < 20; ++i) {
    auto& later = more.emplace_back(db.at());
    later("BEGIN");
    later(db.created(fmt::format("/registry/later{}", i)));
  }
  slow("ROLLBACK");
  CHECK(r.until([&] { return s.applied() == 5; }));
  CHECK(!s.heads().contains("/registry/slow"));
  // MySQL's went on while they were there: whoever had drawn such a number can't use it any more.
  if constexpr (std::is_same_v<database, mysql_test_database>)
    CHECK(!fast.tries(
        "INSERT INTO kine (id, name, created, deleted, prev_revision) VALUES (3, '/registry/slow', 1, 0, 0)"));
  more.clear();
  r.end(s);
}

TEST_CASE_TEMPLATE("who doesn't read its answers holds nobody's lock", database, KINE_DATABASES) {
  auto db = database("stopped").made();
  cutting_proxy proxy(db.port());
  runner r;
  server s(db);
  r.must(s.start());
  auto log = db.make(proxy.port());
  r.must(log->open());
  auto loaded = r.must(log->load(0));
  r.must(log->begin());
  // 40 MB that the other one has not read: more than any buffer on the way holds.
  for (int i = 0; i < 20; ++i)
    r.must(s.write({create(fmt::format("/registry/large/{}", i), std::string(2 * 1024 * 1024, 'x'))}));
  std::optional<result<appended>> late;
  reactor::scope group;
  auto send = [](class log& to, std::string name, std::optional<result<appended>>& out) -> task<void> {
    out.emplace(co_await to.append(
        std::make_shared<const std::vector<operation>>(std::vector<operation>{create(std::move(name), "v")})));
  };
  group.spawn(send(*log, "/registry/slow", late));
  // Sent, and then its process stands still: nothing is read.
  auto sql = db.sql();
  REQUIRE(r.until([&] { return sql("SELECT count(*) FROM kine WHERE name = '/registry/slow'")[0] == "1"; }));
  proxy.stand_still(true);
  duration slowest{};
  for (int i = 0; i < 100; ++i) {
    auto before = monotonic_clock::now();
    r.must(s.write({create(fmt::format("/registry/small/{}", i), "v")}));
    slowest = std::max(slowest, monotonic_clock::now() - before);
  }
  MESSAGE("slowest write beside it " << std::chrono::duration<double, std::milli>(slowest).count() << " ms");
  CHECK(sql(db.lock_is_free)[0] == "1");
  proxy.stand_still(false);
  CHECK(r.until([&] { return group.size() == 0; }));
  REQUIRE(late.has_value());
  REQUIRE_MESSAGE(late->has_value(), late->error().message);
  CHECK((*late)->others.size() >= 20);
  r.loop.run_until(log->close());
  r.end(s);
}

TEST_CASE_TEMPLATE("a database that swallows everything counts as away within two seconds, and is back at once",
                   database, KINE_DATABASES) {
  auto db = database("vanished").made();
  cutting_proxy proxy(db.port());
  auto log = db.make(proxy.port());
  runner r;
  r.must(log->open());
  r.must(log->load(0));
  r.must(log->begin());
  reactor::scope following;
  following.spawn([](class log& l) -> task<void> {
    for (;;) (void)co_await l.tail(2, reactor::loop::current().now() + patience);
  }(*log));
  CHECK(!r.until([&] { return !log->healthy().has_value(); }, 1s));
  proxy.stand_still(true);
  auto before = monotonic_clock::now();
  REQUIRE(r.until([&] { return !log->healthy().has_value(); }));
  auto noticed = monotonic_clock::now() - before;
  CHECK(noticed < busy * 2s);
  auto asked = r.loop.run_until(log->current());
  REQUIRE(!asked.has_value());
  CHECK(asked.error().code == errc::unavailable);
  CHECK(monotonic_clock::now() - before - noticed < busy * 1500ms);
  proxy.stand_still(false);
  before = monotonic_clock::now();
  REQUIRE(r.until([&] { return log->healthy().has_value(); }));
  MESSAGE("noticed after " << std::chrono::duration<double, std::milli>(noticed).count() << " ms, back after "
                           << std::chrono::duration<double, std::milli>(monotonic_clock::now() - before).count()
                           << " ms");
  CHECK(r.must(log->current()) == 2);
  following.cancel();
  r.loop.run_until(log->close());
}

}  // namespace kedge::datastore
