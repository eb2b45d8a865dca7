// postgres_test.cc: what is PostgreSQL's own: kine's rows and peers, holes, lost sessions, restarts, forks.
#include "datastore/postgres/postgres_log.h"

#include <doctest/doctest.h>

#include <thread>

#include "backends.h"
#include "postgres_database.h"
#include "runner.h"

namespace kedge::datastore {
namespace {

using namespace std::chrono_literals;

using database = postgres_test_database;

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
  sql(database::created("/registry/health"));
  sql(database::created("/registry/old"));
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
  sql_session(db.url())(database::created("/registry/hot"));
  r.must(s.catch_up(3, r.in(patience)));
  r.must(t.catch_up(3, r.in(patience)));
  for (int who = 0; who < 3; ++who) {
    peers.emplace_back([&, who] {
      sql_session sql(db.url());
      for (int i = 0; i < 150; ++i) {
        if (sql.tries(database::created(fmt::format("/registry/peer{}/{}", who, i)))) ++landed;
        auto head = sql("SELECT max(id) FROM kine WHERE name = '/registry/hot'")[0];
        if (sql.tries(database::inserted("/registry/hot", false, false, 3, std::stoi(head)))) ++counted;
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
