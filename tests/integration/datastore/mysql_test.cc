// mysql_test.cc: what is MySQL's own: kine's rows and peers, collations, holes, forks, compaction, errors.
#include "datastore/mysql/mysql_log.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "mysql_database.h"
#include "runner.h"

namespace kedge::datastore {
namespace {

using namespace std::chrono_literals;
using database = mysql_test_database;

// As kine makes it, and as it made it before 2024.
std::string kine_table(std::string_view id_type, std::string_view name_type) {
  return fmt::format(
      "CREATE TABLE kine (id {0} AUTO_INCREMENT, name VARCHAR(630) {1}, created INTEGER, deleted INTEGER, "
      "create_revision {0}, prev_revision {0}, lease INTEGER, value MEDIUMBLOB, old_value MEDIUMBLOB, PRIMARY KEY "
      "(id)); "
      "CREATE INDEX kine_name_index ON kine (name); CREATE INDEX kine_name_id_index ON kine (name, id); CREATE INDEX "
      "kine_id_deleted_index ON kine (id, deleted); CREATE INDEX kine_prev_revision_index ON kine (prev_revision); "
      "CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)",
      id_type, name_type);
}

}  // namespace

TEST_CASE("MySQL: rows are what kine writes") {
  database db("rows");
  runner r;
  server s(db);
  r.must(s.start());
  r.must(s.write({create("/registry/a", "one", 60)}));
  r.must(s.write({update(s.heads().at("/registry/a"), "two")}));
  r.must(s.write({remove(s.heads().at("/registry/a"))}));
  r.must(s.write({create("/registry/a", "three")}));
  r.must(s.write({update(s.heads().at("/registry/a"), "four", 7)}));
  mysql_session sql(db.at());
  auto rows =
      sql("SELECT id, name, created, deleted, create_revision, prev_revision, lease, value, "
          "old_value FROM kine ORDER BY id");
  CHECK(rows == std::vector<std::string>{"1|compact_rev_key|1|0|0|0|0||NULL",
                                         R"(2|/registry/health|1|0|0|0|0|{"health":"true"}|NULL)",
                                         "3|/registry/a|1|0|0|0|60|one|NULL", "4|/registry/a|0|0|3|3|0|two|one",
                                         "5|/registry/a|0|1|0|4|0|NULL|two", "6|/registry/a|1|0|0|5|0|three|NULL",
                                         "7|/registry/a|0|0|6|6|7|four|three"});
  auto indexes =
      sql("SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER "
          "BY 1");
  CHECK(indexes == std::vector<std::string>{"kine_id_deleted_index", "kine_name_id_index", "kine_name_index",
                                            "kine_name_prev_revision_uindex", "kine_prev_revision_index", "PRIMARY"});
  r.end(s);
}

TEST_CASE("MySQL: tables that kine made are used as they are, and names that differ in case stay apart") {
  struct row {
    const char *name, *id_type, *name_type;
    bool folds;
  } table[] = {{"oldest", "INTEGER", "CHARACTER SET utf8mb4", true},
               {"usual", "BIGINT UNSIGNED", "CHARACTER SET ascii", true},
               {"latin", "BIGINT UNSIGNED", "CHARACTER SET latin1 COLLATE latin1_swedish_ci", true},
               {"binary_names", "BIGINT UNSIGNED", "CHARACTER SET ascii COLLATE ascii_bin", false}};
  for (auto& t : table) {
    CAPTURE(t.name);
    auto db = database(t.name).made();
    mysql_session sql(db.at());
    sql(kine_table(t.id_type, t.name_type));
    sql("INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value) VALUES "
        "('compact_rev_key',1,0,0,0,0,'')");
    sql(database::created("/registry/health"));
    sql(database::created("/registry/old"));
    // Before v0.16 a delete row carried the last value.
    sql("INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value, old_value) VALUES "
        "('/registry/old',0,1,3,3,0,'peer','peer')");
    runner r;
    server s(db);
    r.must(s.start());
    CHECK(s.applied() == 4);
    CHECK(!s.heads().contains("/registry/old"));
    CHECK(s.history().back().value.empty());
    CHECK(r.must(s.write({create("/registry/old", "again")}))[0].at == 5);
    CHECK(sql("SELECT prev_revision, value FROM kine WHERE id = 5")[0] == "4|again");
    // What K3s would take for one object is refused as it does: it exists. Nothing is lost, and no id.
    auto twice = r.must(s.write({create("/registry/Old", "other"), create("/registry/new", "v")}));
    CHECK((twice[0].what == outcome::status::conflict) == t.folds);
    CHECK(twice[1].what == outcome::status::committed);
    CHECK(twice[1].at == (t.folds ? 6 : 7));
    CHECK(s.heads().at("/registry/old").value == "again");
    auto stale = s.heads().at("/registry/old");
    stale.name = "/registry/OLD";
    CHECK(r.must(s.write({update(stale, "x"), create("/registry/free", "v")}))[0].what == outcome::status::conflict);
    // A guard of another spelling is a guard of nothing.
    auto guarded = update(s.heads().at("/registry/old"), "changed");
    guarded.guards = {{"/registry/OLD", s.heads().at("/registry/old").at}};
    CHECK(r.must(s.write({guarded}))[0].what == outcome::status::guard_failed);
    server other(db);
    r.must(other.start());
    CHECK(other.heads().at("/registry/old").value == "again");
    CHECK(other.heads().size() == s.heads().size());
    r.end(s);
    r.end(other);
  }
}

TEST_CASE("MySQL: databases that can't be used are refused with the reason") {
  struct row {
    const char *name, *spoil, *says;
    errc code = errc::unsupported;
  } table[] = {
      {"trig", "CREATE TRIGGER t BEFORE INSERT ON kine FOR EACH ROW SET NEW.lease = 1", "triggers (t)"},
      {"lacking", "ALTER TABLE kine DROP COLUMN lease", "no column lease"},
      {"type", "ALTER TABLE kine MODIFY value TEXT", "column value of table kine is text"},
      {"counter", "ALTER TABLE kine MODIFY id BIGINT UNSIGNED", "no AUTO_INCREMENT"},
      {"engine", "ALTER TABLE kine ENGINE=MyISAM", "engine MyISAM"},
      {"seen", "RENAME TABLE kine TO other; CREATE VIEW kine AS SELECT * FROM other", "not a plain table"},
      {"steps", "SET GLOBAL auto_increment_increment = 2", "auto_increment_increment is 2"},
      {"standby", "SET GLOBAL read_only = 1", "read only", errc::unavailable},
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
    mysql_session sql(db.at());
    sql(t.spoil);
    auto log = make_mysql_log({.connection = db.settings(), .start_wait = 100ms});
    auto done = r.loop.run_until(log->open());
    REQUIRE(!done.has_value());
    CHECK(done.error().code == t.code);
    CHECK_MESSAGE(done.error().message.find(t.says) != std::string::npos, done.error().message);
    CHECK(done.error().message.find(fmt::format("127.0.0.1:{}/", the_mysql().port())) != std::string::npos);
    r.loop.run_until(log->close());
    sql("SET GLOBAL auto_increment_increment = 1; SET GLOBAL read_only = 0");
  }
}

TEST_CASE("MySQL: an error of the database is never the client's fault, and tells it nothing of SQL") {
  struct row {
    const char *name, *spoil, *mend;
    errc code;
  } table[] = {
      {"used_up",
       "ALTER TABLE kine MODIFY id INTEGER AUTO_INCREMENT; INSERT INTO kine (id, name) VALUES (2147483647, '/x')", "",
       errc::exhausted},
      {"no_right", "REVOKE INSERT ON errors_no_right.* FROM weak", "GRANT INSERT ON errors_no_right.* TO weak",
       errc::internal},
      {"constraint", "ALTER TABLE kine ADD CONSTRAINT short CHECK (length(name) < 20)",
       "ALTER TABLE kine DROP CONSTRAINT short", errc::internal},
      {"gone", "RENAME TABLE kine TO elsewhere", "RENAME TABLE elsewhere TO kine", errc::internal},
      {"refused",
       "CREATE TRIGGER t BEFORE INSERT ON kine FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret words'",
       "DROP TRIGGER t", errc::internal},
      {"locked", "", "", errc::unavailable},
  };
  mysql_session admin(the_mysql().at(""));
  admin("CREATE USER weak@'%' IDENTIFIED BY 'hidden@/word'");
  for (auto& t : table) {
    CAPTURE(t.name);
    auto name = fmt::format("errors_{}", t.name);
    admin(fmt::format(
        "CREATE DATABASE {0}; GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, INDEX, LOCK TABLES ON {0}.* TO weak",
        name));
    runner r;
    auto settings =
        *mysql::parse_dsn(fmt::format("weak:hidden@/word@tcp(127.0.0.1:{})/{}", the_mysql().port(), name), false);
    auto log = make_mysql_log({.connection = settings, .start_wait = patience});
    r.must(log->open());
    r.must(log->load(0));
    r.must(log->begin());
    mysql_session sql(the_mysql().at(name));
    auto write = [&](std::string_view what) {
      return r.loop.run_until(log->append(one(create(fmt::format("/registry/configmaps/default/{}", what), "v"))));
    };
    // A session keeps the rights on its database that it began with.
    auto anew = [&] {
      for (auto& id : admin("SELECT id FROM information_schema.processlist WHERE user = 'weak'"))
        admin.tries("KILL " + id);
      REQUIRE(r.until([&] { return !log->healthy().has_value(); }));
      REQUIRE(r.until([&] { return log->healthy().has_value(); }));
    };
    if (*t.spoil)
      sql(t.spoil);
    else
      sql(fmt::format("SELECT GET_LOCK({}, 5)", append_lock));
    if (std::string_view(t.name) == "no_right") anew();
    auto refused = write("first");
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == t.code);
    for (auto word : {"SQL", "error 1", "kine", "constraint", "denied", "weak", "hidden", "secret words", "127.0.0.1"})
      CHECK_MESSAGE(refused.error().message.find(word) == std::string::npos, refused.error().message);
    if (t.code != errc::exhausted) {
      sql(*t.mend ? std::string(t.mend) : fmt::format("SELECT RELEASE_LOCK({})", append_lock));
      if (std::string_view(t.name) == "no_right") anew();
      auto done = write("second");
      CHECK_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
      CHECK(sql("SELECT count(*) FROM kine WHERE name LIKE '%/first'")[0] == "0");
    }
    r.loop.run_until(log->close());
  }
}

TEST_CASE("MySQL: a peer's unfinished row of the same name is waited for, and decides") {
  for (bool commits : {false, true}) {
    CAPTURE(commits);
    database db(fmt::format("same_name_{}", commits ? 1 : 0));
    runner r;
    server s(db);
    r.must(s.start());
    mysql_session peer(db.at());
    peer("START TRANSACTION; " + database::created("/registry/same"));
    std::optional<result<std::vector<outcome>>> done;
    reactor::scope group;
    group.spawn([](server& w, std::optional<result<std::vector<outcome>>>& out) -> task<void> {
      out.emplace(co_await w.write({create("/registry/same", "ours"), create("/registry/beside", "v")}));
    }(s, done));
    CHECK(!r.until([&] { return done.has_value(); }, 300ms));
    peer(commits ? "COMMIT" : "ROLLBACK");
    REQUIRE(r.until([&] { return done.has_value(); }));
    REQUIRE_MESSAGE(done->has_value(), done->error().message);
    CHECK(((**done)[0].what == outcome::status::committed) == !commits);
    CHECK((**done)[1].what == outcome::status::committed);
    CHECK(peer("SELECT value FROM kine WHERE name = '/registry/same'")[0] == (commits ? "peer" : "ours"));
    r.end(s);
  }
}

TEST_CASE("MySQL: the first compaction goes in steps, whatever an earlier owner has left behind") {
  database db("backlog");
  runner r;
  {
    server first(db);
    r.must(first.start());
    r.end(first);
  }
  mysql_session sql(db.at());
  // What kine leaves when its compaction has died: superseded rows and tombstones far below the compact revision, one
  // object of each.
  sql("INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) SELECT "
      "CONCAT('/registry/o/', seq % 500), seq < 500, seq >= 19500, 0, IF(seq < 500, 0, seq + 3 - 500), 0, 'v' FROM "
      "seq_0_to_19999 ORDER BY seq");
  auto first = std::stoi(sql("SELECT MIN(id) FROM kine WHERE name LIKE '/registry/o/%'")[0]);
  REQUIRE(first == 3);
  sql("UPDATE kine SET prev_revision = 15000 WHERE name = 'compact_rev_key'");
  server s(db);
  r.must(s.start());
  for (int i = 0; i < 1100;) {
    std::vector<operation> ops;
    for (int j = 0; j < 100; ++j, ++i) ops.push_back(create(fmt::format("/registry/n/{}", i), "v"));
    r.must(s.write(std::move(ops)));
  }
  r.must(s.raw().compact(20'003));
  CHECK(sql("SELECT count(*) FROM kine WHERE name LIKE '/registry/o/%'")[0] == "0");
  CHECK(sql("SELECT prev_revision FROM kine WHERE name = 'compact_rev_key'")[0] == "20003");
  r.end(s);
}

TEST_CASE("MySQL: a peer that writes without taking part in the lock") {
  database db("peers");
  runner r;
  server s(db), t(db);
  r.must(s.start());
  r.must(t.start());
  // kine's writer: read the head, insert; its unique violations burn ids. On threads of its own.
  std::atomic<int> landed{0}, counted{0};
  std::vector<std::thread> peers;
  mysql_session(db.at())(database::created("/registry/hot"));
  r.must(s.catch_up(3, r.in(patience)));
  r.must(t.catch_up(3, r.in(patience)));
  for (int who = 0; who < 3; ++who) {
    peers.emplace_back([&, who] {
      mysql_session sql(db.at());
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
  mysql_session sql(db.at());
  // Every successful change of the hot object has one successor: nobody's was lost.
  CHECK(std::stoi(sql("SELECT count(*) FROM kine WHERE name = '/registry/hot' AND created = 0")[0]) == counted + hot);
  REQUIRE(s.history().size() == t.history().size());
  CHECK(std::stoul(sql("SELECT count(*) FROM kine WHERE name <> 'compact_rev_key'")[0]) == s.history().size());
  for (std::size_t i = 0; i < s.history().size(); ++i) CHECK(s.history()[i].at == t.history()[i].at);
  r.end(s);
  r.end(t);
}

TEST_CASE("MySQL: a database that lost or changed what was read is noticed") {
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
    mysql_session(db.at())(t.damage);
    db.end_sessions();
    mysql_session sql(db.at());
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

TEST_CASE("MySQL: who slept past a compaction is told so") {
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

TEST_CASE("MySQL: two servers compact at once, and a peer") {
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
  mysql_session sql(db.at());
  CHECK(sql("SELECT prev_revision FROM kine WHERE name = 'compact_rev_key'")[0] == "2900");
  // What is left of the hot object at or below the mark is its version there.
  CHECK(sql("SELECT count(*) FROM kine WHERE name = '/registry/hot' AND id <= 2900")[0] == "1");
  CHECK(sql("SELECT count(*) FROM kine WHERE name LIKE '/registry/n/%'")[0] == "4000");
  r.end(s);
  r.end(t);
}

TEST_CASE("MySQL: values and names of any shape") {
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
  for (auto& name : {std::string("/registry/a\0b", 13), std::string("/registry/\xc3\xa4"), std::string("/registry/a "),
                     "/registry/" + std::string(630, 'x')}) {
    auto bad = r.loop.run_until(s.write({create(name, "v")}));
    REQUIRE(!bad.has_value());
    CHECK(bad.error().code == errc::invalid);
  }
  // Rows that nobody should have written don't stop a server.
  mysql_session sql(db.at());
  sql("INSERT INTO kine(name) VALUES ('/registry/nulls')");
  sql("INSERT INTO kine(name, created, deleted, prev_revision, lease) VALUES (NULL, 1, 0, 5, -1)");
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
