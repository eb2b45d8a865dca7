// postgres_test.cc: what is PostgreSQL's own: kine's rows and peers, holes, lost sessions, restarts, forks.
#include "datastore/postgres/postgres_log.h"

#include <doctest/doctest.h>

#include <thread>

#include "backends.h"
#include "cutting_proxy.h"
#include "postgres_server.h"
#include "runner.h"

namespace kedge::datastore {
namespace {

using namespace std::chrono_literals;

class database final : public test_database {
 public:
  explicit database(std::string name, std::chrono::milliseconds start_wait = patience)
      : name_(std::move(name)), start_wait_(start_wait) {}
  std::unique_ptr<log> make() override {
    return make_postgres_log({.connection = *postgres::parse_url(url()), .start_wait = start_wait_});
  }
  bool shared() const override { return true; }
  std::string url() const { return the_postgres().url(name_); }

 private:
  std::string name_;
  std::chrono::milliseconds start_wait_;
};

// As kine inserts.
std::string kine_insert(std::string_view name, bool created, bool deleted, int create_revision, int previous) {
  return fmt::format(
      "INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value, old_value) SELECT '{}', "
      "{}, "
      "{}, {}, {}, 0, {}, (SELECT value FROM kine WHERE id = {}) RETURNING id",
      name, created ? 1 : 0, deleted ? 1 : 0, create_revision, previous, deleted ? "NULL" : "'peer'::bytea", previous);
}
std::string kine_create(std::string_view name) { return kine_insert(name, true, false, 0, 0); }

}  // namespace

TEST_CASE("rows are what kine writes") {
  database db("rows");
  runner r;
  server s(db);
  r.must(s.start());
  r.must(s.write({create("/registry/a", "one", 60)}));
  r.must(s.write({update(s.heads().at("/registry/a"), "two")}));
  r.must(s.write({remove(s.heads().at("/registry/a"))}));
  r.must(s.write({create("/registry/a", "three")}));
  r.must(s.write({update(s.heads().at("/registry/a"), "four", 7)}));
  sql_session sql(db.url());
  auto rows =
      sql("SELECT id, name, created, deleted, create_revision, prev_revision, lease, convert_from(value, 'UTF8'), "
          "convert_from(old_value, 'UTF8') FROM kine ORDER BY id");
  CHECK(rows == std::vector<std::string>{"1|compact_rev_key|1|0|0|0|0||NULL",
                                         R"(2|/registry/health|1|0|0|0|0|{"health":"true"}|NULL)",
                                         "3|/registry/a|1|0|0|0|60|one|NULL", "4|/registry/a|0|0|3|3|0|two|one",
                                         "5|/registry/a|0|1|0|4|0|NULL|two", "6|/registry/a|1|0|0|5|0|three|NULL",
                                         "7|/registry/a|0|0|6|6|7|four|three"});
  auto indexes = sql("SELECT indexname FROM pg_indexes WHERE tablename = 'kine' ORDER BY 1");
  CHECK(indexes == std::vector<std::string>{"kine_id_deleted_index", "kine_list_query_index", "kine_name_id_index",
                                            "kine_name_index", "kine_name_prev_revision_uindex", "kine_pkey",
                                            "kine_prev_revision_index"});
  r.end(s);
}

TEST_CASE("servers that start at the same moment make one database") {
  database db("together");
  sql_session(the_postgres().url("postgres"))("CREATE DATABASE together TEMPLATE template0");
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
  CHECK(sql_session(db.url())("SELECT count(*), count(DISTINCT name) FROM kine WHERE name NOT LIKE 'gap-%'")[0] ==
        "2|2");
  for (auto& s : all) r.end(*s);
}

TEST_CASE("a database of an old K3s with 4-byte ids and varchar names is used as it is") {
  sql_session(the_postgres().url("postgres"))("CREATE DATABASE oldest TEMPLATE template0 LC_COLLATE 'C.UTF-8'");
  database db("oldest");
  sql_session sql(db.url());
  sql("CREATE TABLE kine (id SERIAL PRIMARY KEY, name VARCHAR(630), created INTEGER, deleted INTEGER, create_revision "
      "INTEGER,"
      " prev_revision INTEGER, lease INTEGER, value bytea, old_value bytea)");
  sql("CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)");
  sql("INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value) VALUES "
      "('compact_rev_key',1,0,0,0,0,'')");
  sql(kine_create("/registry/health"));
  sql(kine_create("/registry/old"));
  // Before v0.16 a delete row carried the last value.
  sql("INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value, old_value) VALUES"
      " ('/registry/old',0,1,3,3,0,'peer','peer')");
  runner r;
  server s(db);
  r.must(s.start());
  CHECK(s.applied() == 4);
  CHECK(!s.heads().contains("/registry/old"));
  CHECK(s.history().back().value.empty());
  CHECK(r.must(s.write({create("/registry/old", "again")}))[0].at == 5);
  CHECK(sql("SELECT prev_revision, convert_from(value, 'UTF8') FROM kine WHERE id = 5")[0] == "4|again");
  server t(db);
  r.must(t.start());
  CHECK(t.heads().at("/registry/old").value == "again");
  r.end(s);
  r.end(t);
}

TEST_CASE("databases that can't be used are refused with the reason") {
  struct row {
    const char *name, *spoil, *says;
  } table[] = {
      {"trigger",
       "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE "
       "INSERT "
       "ON kine FOR EACH ROW EXECUTE FUNCTION f()",
       "triggers (t)"},
      {"column", "ALTER TABLE kine DROP COLUMN lease", "no column lease"},
      {"type", "ALTER TABLE kine ALTER COLUMN value TYPE text USING ''", "column value of table kine is text"},
      {"steps", "ALTER SEQUENCE kine_id_seq INCREMENT 2", "INCREMENT 1"},
      {"rls", "ALTER TABLE kine ENABLE ROW LEVEL SECURITY", "row level security"},
      {"view", "ALTER TABLE kine RENAME TO other; CREATE VIEW kine AS SELECT * FROM other", "not a plain table"},
  };
  for (auto& t : table) {
    CAPTURE(t.name);
    database db(fmt::format("refused_{}", t.name));
    runner r;
    {
      server s(db);
      r.must(s.start());
      r.end(s);
    }
    sql_session(db.url())(t.spoil);
    server s(db);
    auto done = r.loop.run_until(s.start());
    REQUIRE(!done.has_value());
    CHECK(done.error().code == errc::unsupported);
    CHECK_MESSAGE(done.error().message.find(t.says) != std::string::npos, done.error().message);
    CHECK(done.error().message.find(fmt::format("127.0.0.1:{}/", the_postgres().port())) != std::string::npos);
    r.end(s);
  }
}

TEST_CASE("a row that commits late is given in its place, and nothing above it before") {
  database db("late");
  runner r;
  server s(db);
  r.must(s.start());
  sql_session slow(db.url()), fast(db.url());
  slow("BEGIN");
  slow(kine_create("/registry/slow"));  // id 3, not visible
  fast(kine_create("/registry/fast"));  // id 4
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

TEST_CASE("an own write above a peer's unfinished one is acknowledged only when that is known") {
  database db("above");
  runner r;
  server s(db);
  r.must(s.start());
  sql_session slow(db.url());
  slow("BEGIN");
  slow(kine_create("/registry/slow"));  // id 3
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

TEST_CASE("a gap that nobody can fill any more costs nothing, whatever its size") {
  database db("holes");
  runner r;
  server s(db), other(db);
  r.must(s.start());
  r.must(other.start());
  sql_session peer(db.url());
  for (int i = 0; i < 200; ++i) {
    // Each second insert burns an id.
    peer(kine_create(fmt::format("/registry/{}", i)));
    CHECK(!peer.tries(kine_create(fmt::format("/registry/{}", i))));
  }
  auto before = monotonic_clock::now();
  r.must(s.catch_up(401, r.in(patience)));
  MESSAGE("200 holes took " << std::chrono::duration<double, std::milli>(monotonic_clock::now() - before).count()
                            << " ms");
  CHECK(s.heads().size() == 201);
  peer("SELECT setval('kine_id_seq', 1000000000)");
  peer(kine_create("/registry/far"));
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

TEST_CASE("a gap waits for who may still fill it, and for nobody who began later") {
  database db("gaps");
  runner r;
  server s(db);
  r.must(s.start());
  sql_session slow(db.url()), fast(db.url());
  slow("BEGIN");
  slow(kine_create("/registry/slow"));  // id 3, not visible
  CHECK(
      !fast.tries("INSERT INTO kine (id, name, created, deleted, prev_revision) VALUES (nextval('kine_id_seq'), "
                  "'/registry/health', 1, 0, 0)"));  // 4
  fast(kine_create("/registry/fast"));               // 5
  reactor::scope group;
  group.spawn(
      [](server& one) -> task<void> { (void)co_await one.catch_up(5, reactor::loop::current().now() + patience); }(s));
  CHECK(!r.until([&] { return s.applied() > 2; }, 300ms));
  // Others hold the same lock all the time, one after the other.
  std::vector<std::unique_ptr<sql_session>> more;
  for (int i = 0; i < 20; ++i) {
    more.push_back(std::make_unique<sql_session>(db.url()));
    (*more.back())("BEGIN");
    (*more.back())(kine_create(fmt::format("/registry/later{}", i)));
  }
  slow("ROLLBACK");
  CHECK(r.until([&] { return s.applied() == 5; }));
  CHECK(!s.heads().contains("/registry/slow"));
  more.clear();
  r.end(s);
}

TEST_CASE("who doesn't read its answers holds nobody's lock") {
  cutting_proxy proxy(the_postgres().port());
  sql_session(the_postgres().url("postgres"))("CREATE DATABASE stopped TEMPLATE template0");
  database direct("stopped");
  runner r;
  server s(direct);
  r.must(s.start());
  auto log = make_postgres_log(
      {.connection = *postgres::parse_url(fmt::format("postgres://postgres@127.0.0.1:{}/stopped", proxy.port())),
       .start_wait = patience});
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
  sql_session sql(direct.url());
  REQUIRE(r.until([&] { return sql("SELECT count(*) FROM kine WHERE name = '/registry/slow'")[0] == "1"; }));
  proxy.stand_still(true);
  duration slowest{};
  for (int i = 0; i < 100; ++i) {
    auto before = monotonic_clock::now();
    r.must(s.write({create(fmt::format("/registry/small/{}", i), "v")}));
    slowest = std::max(slowest, monotonic_clock::now() - before);
  }
  MESSAGE("slowest write beside it " << std::chrono::duration<double, std::milli>(slowest).count() << " ms");
  CHECK(sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM "
            "pg_database WHERE datname = 'stopped')")[0] == "0");
  proxy.stand_still(false);
  CHECK(r.until([&] { return group.size() == 0; }));
  REQUIRE(late.has_value());
  REQUIRE_MESSAGE(late->has_value(), late->error().message);
  CHECK((*late)->others.size() >= 20);
  r.loop.run_until(log->close());
  r.end(s);
}

TEST_CASE("a database that swallows everything counts as away within two seconds, and is back at once") {
  cutting_proxy proxy(the_postgres().port());
  sql_session(the_postgres().url("postgres"))("CREATE DATABASE vanished TEMPLATE template0");
  auto log = make_postgres_log(
      {.connection = *postgres::parse_url(fmt::format("postgres://postgres@127.0.0.1:{}/vanished", proxy.port())),
       .start_wait = patience});
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

TEST_CASE("an error of the database is never the client's fault, and tells it nothing of SQL") {
  struct row {
    const char *name, *spoil, *mend;
    errc code;
  } table[] = {
      {"used_up", "ALTER SEQUENCE kine_id_seq MAXVALUE 100 RESTART 100; SELECT nextval('kine_id_seq')",
       "ALTER SEQUENCE kine_id_seq NO MAXVALUE", errc::exhausted},
      {"no_right", "REVOKE INSERT ON kine FROM weak", "GRANT INSERT ON kine TO weak", errc::internal},
      {"constraint", "ALTER TABLE kine ADD CONSTRAINT short CHECK (length(name) < 20 OR id < 3) NOT VALID",
       "ALTER TABLE kine DROP CONSTRAINT short", errc::internal},
      {"gone", "ALTER TABLE kine RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO kine", errc::internal},
      {"refused",
       "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'secret words' USING ERRCODE = "
       "'22023'; END$$;"
       "CREATE TRIGGER t BEFORE INSERT ON kine FOR EACH ROW EXECUTE FUNCTION f()",
       "DROP TRIGGER t ON kine; DROP FUNCTION f", errc::internal},
      {"locked", "", "", errc::unavailable},
  };
  sql_session admin(the_postgres().url("postgres"));
  admin("CREATE ROLE weak LOGIN");
  for (auto& t : table) {
    CAPTURE(t.name);
    auto name = fmt::format("errors_{}", t.name);
    admin(fmt::format("CREATE DATABASE {} TEMPLATE template0 OWNER weak", name));
    runner r;
    auto log = make_postgres_log({.connection = *postgres::parse_url(
                                      fmt::format("postgres://weak@127.0.0.1:{}/{}", the_postgres().port(), name)),
                                  .start_wait = patience});
    r.must(log->open());
    r.must(log->load(0));
    r.must(log->begin());
    sql_session sql(the_postgres().url(name));
    auto write = [&](std::string_view what) {
      return r.loop.run_until(log->append(std::make_shared<const std::vector<operation>>(
          std::vector<operation>{create(fmt::format("/registry/configmaps/default/{}", what), "v")})));
    };
    if (*t.spoil)
      sql(t.spoil);
    else
      sql("BEGIN; SELECT pg_advisory_xact_lock(461262579557)");
    auto refused = write("first");
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == t.code);
    for (auto word : {"SQLSTATE", "kine", "constraint", "permission", "nextval", "sequence", "secret words", "relation",
                      "127.0.0.1"})
      CHECK_MESSAGE(refused.error().message.find(word) == std::string::npos, refused.error().message);
    sql(*t.mend ? t.mend : "COMMIT");
    auto done = write("second");
    CHECK_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
    CHECK(sql("SELECT count(*) FROM kine WHERE name LIKE '%/first'")[0] == "0");
    r.loop.run_until(log->close());
  }
}

TEST_CASE("a sequence that ends before its column does is widened") {
  database db("narrow");
  runner r;
  {
    server s(db);
    r.must(s.start());
    r.end(s);
  }
  sql_session sql(db.url());
  // As ALTER TABLE … TYPE bigint leaves the one of a SERIAL column.
  sql("ALTER SEQUENCE kine_id_seq AS integer");
  CHECK(sql("SELECT seqmax FROM pg_sequence")[0] == "2147483647");
  sql("SELECT setval('kine_id_seq', 2147483646)");
  server s(db);
  r.must(s.start());
  CHECK(sql("SELECT seqmax FROM pg_sequence")[0] == "9223372036854775807");
  for (int i = 0; i < 3; ++i) r.must(s.write({create(fmt::format("/registry/{}", i), "v")}));
  CHECK(s.applied() > 2147483647);
  r.end(s);
}

TEST_CASE("the first compaction goes in steps, whatever an earlier owner has left behind") {
  database db("backlog");
  runner r;
  {
    server first(db);
    r.must(first.start());
    r.end(first);
  }
  sql_session sql(db.url());
  // What kine leaves when its compaction has died: superseded rows and tombstones far below the compact revision, one
  // object of each.
  sql("INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) SELECT '/registry/o/' "
      "|| (n % 500), (n < 500)::int,"
      " (n >= 19500)::int, 0, CASE WHEN n < 500 THEN 0 ELSE n + 3 - 500 END, 0, 'v' FROM generate_series(0, 19999) n "
      "ORDER BY n");
  sql("UPDATE kine SET prev_revision = 15000 WHERE name = 'compact_rev_key'");
  server s(db);
  r.must(s.start());
  for (int i = 0; i < 1100;) {
    std::vector<operation> ops;
    for (int j = 0; j < 100; ++j, ++i) ops.push_back(create(fmt::format("/registry/n/{}", i), "v"));
    r.must(s.write(std::move(ops)));
  }
  auto steps = [&] {
    return std::stoi(
        sql("SELECT pg_stat_force_next_flush(), n_tup_upd FROM pg_stat_user_tables WHERE relname = 'kine'")[0].substr(
            1));
  };
  sql("SELECT pg_stat_reset()");
  r.must(s.raw().compact(20'003));
  CHECK(sql("SELECT count(*) FROM kine WHERE name LIKE '/registry/o/%'")[0] == "0");
  CHECK(sql("SELECT prev_revision FROM kine WHERE name = 'compact_rev_key'")[0] == "20003");
  // Above the compact revision that was there each step moves it.
  CHECK(r.until([&] { return steps() >= 5; }));
  r.end(s);
}

TEST_CASE("a peer that writes without taking part in the lock") {
  database db("peers");
  runner r;
  server s(db), t(db);
  r.must(s.start());
  r.must(t.start());
  // kine's writer: read the head, insert; its unique violations burn ids. On threads of its own.
  std::atomic<int> landed{0}, counted{0};
  std::vector<std::thread> peers;
  sql_session(db.url())(kine_create("/registry/hot"));
  r.must(s.catch_up(3, r.in(patience)));
  r.must(t.catch_up(3, r.in(patience)));
  for (int who = 0; who < 3; ++who) {
    peers.emplace_back([&, who] {
      sql_session sql(db.url());
      for (int i = 0; i < 150; ++i) {
        if (sql.tries(kine_create(fmt::format("/registry/peer{}/{}", who, i)))) ++landed;
        auto head = sql("SELECT max(id) FROM kine WHERE name = '/registry/hot'")[0];
        if (sql.tries(kine_insert("/registry/hot", false, false, 3, std::stoi(head)))) ++counted;
      }
    });
  }
  int mine = 0, hot = 0;
  reactor::scope group;
  for (auto* one : {&s, &t}) {
    group.spawn([](server& w, int& n, int& h) -> task<void> {
      for (int i = 0; i < 100; ++i) {
        std::vector<operation> ops{create(fmt::format("/registry/ours{}/{}", static_cast<void*>(&w), i), "v"),
                                   update(w.heads().at("/registry/hot"), "ours")};
        auto done = co_await w.write(std::move(ops));
        CHECK_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
        if (!done) co_return;
        CHECK((*done)[0].what == outcome::status::committed);
        ++n;
        if ((*done)[1].what == outcome::status::committed) ++h;
        (void)co_await w.follow(reactor::loop::current().now() + 2ms);
      }
    }(*one, mine, hot));
  }
  CHECK(r.until([&] { return group.size() == 0; }));
  for (auto& p : peers) p.join();
  auto newest = r.must(s.raw().current());
  r.must(s.catch_up(newest, r.in(patience)));
  r.must(t.catch_up(newest, r.in(patience)));
  CHECK(landed == 450);
  CHECK(mine == 200);
  sql_session sql(db.url());
  // Every successful change of the hot object has one successor: nobody's was lost.
  CHECK(std::stoi(sql("SELECT count(*) FROM kine WHERE name = '/registry/hot' AND created = 0")[0]) == counted + hot);
  REQUIRE(s.history().size() == t.history().size());
  CHECK(std::stoul(sql("SELECT count(*) FROM kine WHERE name <> 'compact_rev_key'")[0]) == s.history().size());
  for (std::size_t i = 0; i < s.history().size(); ++i) CHECK(s.history()[i].at == t.history()[i].at);
  r.end(s);
  r.end(t);
}

TEST_CASE("a write whose answer is lost is found again, or known not to have landed") {
  database db("doubt");
  runner r;
  server s(db);
  r.must(s.start());
  // A second session holds the append lock, so ours waits inside of the server when it is ended.
  for (bool let_go : {false, true}) {
    CAPTURE(let_go);
    sql_session holder(db.url()), killer(db.url());
    holder("BEGIN");
    holder("SELECT pg_advisory_xact_lock(461262579557)");
    std::optional<result<appended>> answer;
    reactor::scope group;
    auto name = fmt::format("/registry/doubt-{}", let_go);
    group.spawn([](server& one, std::string key, std::optional<result<appended>>& out) -> task<void> {
      out.emplace(co_await one.raw().append(
          std::make_shared<const std::vector<operation>>(std::vector<operation>{create(key, "v")})));
    }(s, name, answer));
    auto waits = "SELECT pid FROM pg_stat_activity WHERE datname = 'doubt' AND wait_event = 'advisory'";
    REQUIRE(r.until([&] { return !killer(waits).empty(); }));
    auto pid = killer(waits)[0];
    if (let_go)
      holder("COMMIT");
    else
      killer("SELECT pg_terminate_backend(" + pid + ")");
    REQUIRE(r.until([&] { return answer.has_value(); }));
    if (let_go) {
      CHECK(answer->has_value());
    } else {
      REQUIRE(!answer->has_value());
      CHECK(answer->error().code == errc::unknown_outcome);
      holder("COMMIT");
      auto page = r.must(s.raw().load(s.applied()));
      CHECK(page.entries.empty());
      // And it can't come later.
      CHECK(killer("SELECT count(*) FROM kine WHERE name = '" + name + "'")[0] == "0");
    }
  }
  r.end(s);
}

TEST_CASE("the database restarts: refused meanwhile, back within a second") {
  database db("restart");
  runner r;
  server s(db), t(db);
  r.must(s.start());
  r.must(t.start());
  r.must(s.write({create("/registry/before", "v")}));
  for (auto how : {"fast", "immediate"}) {
    CAPTURE(how);
    the_postgres().stop(how);
    CHECK(r.until([&] { return !s.raw().healthy().has_value(); }));
    // One lost connection is known of; that the other has ended too is in its socket.
    for (int i = 0; i < 20; ++i) r.loop.turn(monotonic_clock::now() + 5ms);
    auto refused = r.loop.run_until(s.raw().append(
        std::make_shared<const std::vector<operation>>(std::vector<operation>{create("/registry/away", "v")})));
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == errc::unavailable);
    auto now = r.loop.run_until(s.raw().current());
    REQUIRE(!now.has_value());
    CHECK(now.error().code == errc::unavailable);
    // Following goes on waiting.
    auto page = r.loop.run_until(t.raw().tail(t.applied(), monotonic_clock::now() + 50ms));
    REQUIRE(page.has_value());
    CHECK(page->entries.empty());
    the_postgres().start();
    auto up = monotonic_clock::now();
    CHECK(r.until([&] { return s.raw().healthy().has_value() && t.raw().healthy().has_value(); }));
    MESSAGE("back after " << std::chrono::duration<double, std::milli>(monotonic_clock::now() - up).count() << " ms");
    auto done = r.must(s.write({create(fmt::format("/registry/after-{}", how), "v")}));
    CHECK(done[0].what == outcome::status::committed);
    r.must(t.catch_up(done[0].at, r.in(patience)));
    CHECK(t.heads().contains(fmt::format("/registry/after-{}", how)));
  }
  r.end(s);
  r.end(t);
}

TEST_CASE("a database that lost or changed what was read is noticed") {
  struct row {
    const char *name, *damage, *says;
  } table[] = {
      {"shorter", "DELETE FROM kine WHERE id >= 5", "its newest row is 4"},
      {"other",
       "DELETE FROM kine WHERE id = 6; INSERT INTO "
       "kine(id,name,created,deleted,create_revision,prev_revision,lease,value) VALUES"
       " (6,'/registry/x',1,0,0,0,0,'v')",
       "row 6 is not /registry/3 any more"},
      {"value", "UPDATE kine SET value = 'w' WHERE id = 6", "row 6 has another value"},
  };
  for (auto& t : table) {
    CAPTURE(t.name);
    database db(fmt::format("fork_{}", t.name));
    runner r;
    server s(db);
    r.must(s.start());
    for (int i = 0; i < 4; ++i) r.must(s.write({create(fmt::format("/registry/{}", i), "v")}));
    sql_session sql(db.url());
    sql(t.damage);
    sql(
        fmt::format("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'fork_{}' AND "
                    "application_name = 'kedge'",
                    t.name));
    REQUIRE(r.until([&] {
      auto h = s.raw().healthy();
      return !h && h.error().code == errc::corrupt;
    }));
    CHECK_MESSAGE(s.raw().healthy().error().message.find(t.says) != std::string::npos,
                  s.raw().healthy().error().message);
    auto refused = r.loop.run_until(s.write({create("/registry/new", "v")}));
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == errc::corrupt);
    auto tail = r.loop.run_until(s.raw().tail(s.applied(), monotonic_clock::now() + 50ms));
    REQUIRE(!tail.has_value());
    CHECK(tail.error().code == errc::corrupt);
    CHECK(sql("SELECT count(*) FROM kine WHERE name = '/registry/new'")[0] == "0");
    r.end(s);
  }
}

TEST_CASE("who slept past a compaction is told so") {
  database db("slept");
  runner r;
  server s(db), sleeper(db);
  r.must(s.start());
  r.must(s.write({create("/registry/hot", "0"), create("/registry/gone", "0")}));
  r.must(sleeper.start());
  r.must(s.write({remove(s.heads().at("/registry/gone"))}));
  for (int i = 0; i < 2500;) {
    std::vector<operation> ops;
    for (int j = 0; j < 500; ++j, ++i) ops.push_back(create(fmt::format("/registry/n/{}", i), "v"));
    r.must(s.write(std::move(ops)));
  }
  r.must(s.raw().compact(1200));
  auto page = r.loop.run_until(sleeper.raw().tail(sleeper.applied(), monotonic_clock::now() + patience));
  REQUIRE(!page.has_value());
  CHECK(page.error().code == errc::expired);
  r.end(s);
  r.end(sleeper);
}

TEST_CASE("two servers compact at once, and a peer") {
  database db("compacting");
  runner r;
  server s(db), t(db);
  r.must(s.start());
  r.must(t.start());
  for (int i = 0; i < 4000;) {
    std::vector<operation> ops;
    for (int j = 0; j < 400; ++j, ++i) ops.push_back(create(fmt::format("/registry/n/{}", i), "v"));
    if (auto hot = s.heads().find("/registry/hot"); hot != s.heads().end())
      ops.push_back(update(hot->second, std::to_string(i)));
    else
      ops.push_back(create("/registry/hot", "0"));
    r.must(s.write(std::move(ops)));
  }
  int done = 0;
  reactor::scope group;
  for (auto* one : {&s, &t}) {
    group.spawn([](server& w, int& n) -> task<void> {
      auto ok = co_await w.raw().compact(2900);
      CHECK_MESSAGE(ok.has_value(), (ok ? std::string() : ok.error().message));
      ++n;
    }(*one, done));
  }
  CHECK(r.until([&] { return done == 2; }));
  sql_session sql(db.url());
  CHECK(sql("SELECT prev_revision FROM kine WHERE name = 'compact_rev_key'")[0] == "2900");
  // What is left of the hot object at or below the mark is its version there.
  CHECK(sql("SELECT count(*) FROM kine WHERE name = '/registry/hot' AND id <= 2900")[0] == "1");
  CHECK(sql("SELECT count(*) FROM kine WHERE name LIKE '/registry/n/%'")[0] == "4000");
  r.end(s);
  r.end(t);
}

TEST_CASE("values and names of any shape") {
  database db("shapes");
  runner r;
  server s(db);
  r.must(s.start());
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  std::string large(3 * 1024 * 1024, 'x');
  r.must(s.write({create("/registry/bytes", all), create("/registry/empty", ""), create("/registry/large", large),
                  create("/registry/it's \"quoted\" \\ {a,b}", "v")}));
  server t(db);
  r.must(t.start());
  CHECK(t.heads().at("/registry/bytes").value == all);
  CHECK(t.heads().at("/registry/empty").value.empty());
  CHECK(t.heads().at("/registry/large").value == large);
  CHECK(t.heads().at("/registry/it's \"quoted\" \\ {a,b}").value == "v");
  auto bad = r.loop.run_until(s.write({create(std::string("/registry/a\0b", 13), "v")}));
  REQUIRE(!bad.has_value());
  CHECK(bad.error().code == errc::invalid);
  // Rows that nobody should have written don't stop a server.
  sql_session sql(db.url());
  sql("INSERT INTO kine(name) VALUES ('/registry/nulls')");
  sql("INSERT INTO kine(name, created, deleted, prev_revision, lease) VALUES (NULL, 1, 0, -5, -1)");
  sql("INSERT INTO kine(id, name, created, deleted) VALUES (-7, '/registry/negative', 1, 0)");
  auto newest = r.must(s.raw().current());
  r.must(s.catch_up(newest, r.in(patience)));
  CHECK(r.must(s.write({create("/registry/after", "v")}))[0].what == outcome::status::committed);
  server again(db);
  r.must(again.start());
  CHECK(again.heads().contains("/registry/after"));
  r.end(s);
  r.end(t);
  r.end(again);
}

}  // namespace kedge::datastore
