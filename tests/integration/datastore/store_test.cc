// store_test.cc: whole stores, three over one PostgreSQL, as three servers are.
#include <doctest/doctest.h>

#include <set>

#include "backends.h"
#include "cutting_proxy.h"
#include "datastore/etcd/etcd_log.h"
#include "datastore/memory/memory_log.h"
#include "datastore/mysql/mysql_log.h"
#include "datastore/postgres/postgres_log.h"
#include "datastore/redis/redis_log.h"
#include "etcd_server.h"
#include "mysql_server.h"
#include "redis_server.h"
#include "store/open.h"

namespace kedge::store {
namespace {

using namespace std::chrono_literals;
using datastore::sql_session;
using datastore::the_mysql;
using datastore::the_postgres;
using datastore::the_redis;

std::string config_map(std::string_view name, std::string_view data) {
  return fmt::format(R"({{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{}"}},"data":{{"k":"{}"}}}})", name,
                     data);
}

struct servers {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::automatic)};
  reactor::loop::current_guard here{loop};
  std::vector<std::unique_ptr<store>> all;
  std::vector<std::string> lost_history;

  void open(std::unique_ptr<datastore::log> l) {
    store_options o{.log = std::move(l), .loops = {&loop}};
    o.on_lost_history = [this](const error& why) { lost_history.push_back(why.message); };
    auto opened = loop.run_until(open_store(std::move(o)));
    REQUIRE_MESSAGE(opened.has_value(), (opened ? std::string() : opened.error().message));
    all.push_back(std::move(*opened));
  }
  void postgres(const std::string& url) {
    open(datastore::make_postgres_log(
        {.connection = *datastore::postgres::parse_url(url), .start_wait = datastore::patience}));
  }
  void mysql(const std::string& dsn) {
    open(datastore::make_mysql_log(
        {.connection = *datastore::mysql::parse_dsn(dsn, false), .start_wait = datastore::patience}));
  }
  void redis(const std::string& endpoint) {
    open(datastore::make_redis_log(
        {.connection = *datastore::redis::parse_endpoint(endpoint, false), .start_wait = datastore::patience}));
  }
  void etcd(const std::string& endpoint) {
    open(datastore::make_etcd_log(
        {.cluster = *datastore::etcd::parse_endpoint(endpoint), .start_wait = datastore::patience}));
  }
  ~servers() {
    for (auto& s : all) loop.run_until(s->close());
  }
  template <typename F>
  bool until(F condition, std::chrono::milliseconds limit = datastore::patience) {
    auto end = monotonic_clock::now() + limit;
    while (!condition()) {
      if (monotonic_clock::now() > end) return false;
      loop.turn(monotonic_clock::now() + 5ms);
    }
    return true;
  }
};

// What clients were told, and what a watch on another server showed.
struct told {
  std::set<std::string> created;
  int counted = 0, refused = 0;
  bool wrong = false;
};

// A client of `mine`: creates objects, and counts up one that all clients share.
task<void> client(store& mine, int who, int rounds, told& t) {
  for (int i = 0; i < rounds; ++i) {
    auto name = fmt::format("c{}-{}", who, i);
    auto made =
        co_await mine.write({write_kind::create, "/registry/configmaps/default/" + name, config_map(name, "v"), 0, 0});
    if (made)
      t.created.insert("/registry/configmaps/default/" + name);
    else if (made.error().code == errc::already_exists)
      t.wrong = true;  // nobody else makes it, and an attempt in doubt is not repeated
    else
      ++t.refused;
    auto now = co_await mine.latest();
    if (!now) {
      ++t.refused;
      co_await reactor::sleep_for(10ms);
      continue;
    }
    auto hot = now->find("/registry/configmaps/default/count");
    auto text = std::string(hot->bytes());
    auto at = text.find("\"k\":\"") + 5;
    auto value = std::stoi(text.substr(at));
    auto counted =
        co_await mine.write({write_kind::update, "/registry/configmaps/default/count",
                             config_map("count", fmt::format("{} by {}-{}", value + 1, who, i)), hot->mod(), 0});
    if (counted)
      ++t.counted;
    else if (counted.error().code != errc::conflict)
      ++t.refused;
  }
}

task<void> watching(store& s, std::vector<event_ref>& seen) {
  auto w = s.watch("/registry/configmaps/", 0);
  REQUIRE(w.has_value());
  for (;;) {
    auto events = co_await (*w)->next();
    if (!events) co_return;
    seen.insert(seen.end(), events->begin(), events->end());
  }
}

void run_clients(servers& s, int rounds, std::function<void(int)> meanwhile) {
  auto& loop = s.loop;
  REQUIRE(loop.run_until(s.all[0]->write({write_kind::create, "/registry/configmaps/default/count",
                                          config_map("count", "0 by nobody"), 0, 0}))
              .has_value());
  std::vector<std::vector<event_ref>> seen(s.all.size());
  told t;
  reactor::scope watches;
  for (auto& one : s.all) REQUIRE(loop.run_until(one->latest()).has_value());
  for (std::size_t i = 0; i < s.all.size(); ++i) watches.spawn(watching(*s.all[i], seen[i]));
  {
    reactor::scope clients;
    for (int who = 0; who < 12; ++who)
      clients.spawn(client(*s.all[static_cast<std::size_t>(who) % s.all.size()], who, rounds, t));
    for (int n = 0; clients.size() > 0; ++n) {
      loop.turn(monotonic_clock::now() + 5ms);
      if (meanwhile) meanwhile(n);
    }
  }
  REQUIRE(s.until([&] {
    for (auto& one : s.all) {
      if (!one->healthy()) return false;
    }
    return true;
  }));
  std::vector<snapshot> last;
  for (auto& one : s.all) {
    auto now = loop.run_until(one->latest());
    REQUIRE_MESSAGE(now.has_value(), (now ? std::string() : now.error().message));
    last.push_back(*now);
  }
  CHECK(!t.wrong);
  CHECK(!t.created.empty());
  for (auto& name : t.created) CHECK_MESSAGE(last[0].find(name), name);
  auto text = std::string(last[0].find("/registry/configmaps/default/count")->bytes());
  CHECK(std::stoi(text.substr(text.find("\"k\":\"") + 5)) == t.counted);
  for (std::size_t i = 0; i < s.all.size(); ++i) {
    s.until([&] { return seen[i].size() >= seen[0].size(); });
    REQUIRE(seen[i].size() == seen[0].size());
    for (std::size_t j = 0; j < seen[0].size(); ++j) {
      if (seen[i][j]->at != seen[0][j]->at || seen[i][j]->object->bytes() != seen[0][j]->object->bytes())
        FAIL("watch differs at " << seen[0][j]->at);
    }
    CHECK(last[i].at() == last[0].at());
    CHECK(last[i].count("/registry/") == last[0].count("/registry/"));
  }
  MESSAGE(t.created.size() << " created, " << t.counted << " counted, " << t.refused << " refused");
}

void run_clients_and_lose_answers(servers& s, datastore::cutting_proxy& proxy) {
  int losses = 0;
  run_clients(s, 60, [&](int n) {
    if (n % 25 == 24 && proxy.lost() && losses < 40) {
      ++losses;
      proxy.lose_next_answer();
    }
  });
  CHECK(losses > 0);
}

}  // namespace

TEST_CASE("three servers: what clients were told is true, and all watches tell the same") {
  servers s;
  for (int i = 0; i < 3; ++i) s.postgres(the_postgres().url("three"));
  run_clients(s, 40, {});
}

TEST_CASE("three servers whose answers get lost: no write is lost, applied twice, or refused although it landed") {
  datastore::cutting_proxy proxy(the_postgres().port());
  servers s;
  for (int i = 0; i < 3; ++i) s.postgres(fmt::format("postgres://postgres@127.0.0.1:{}/lost_answers", proxy.port()));
  run_clients_and_lose_answers(s, proxy);
}

TEST_CASE("three servers on MySQL") {
  servers s;
  for (int i = 0; i < 3; ++i) s.mysql(the_mysql().dsn("three"));
  run_clients(s, 40, {});
}

TEST_CASE("three servers on MySQL whose answers get lost") {
  datastore::cutting_proxy proxy(the_mysql().port());
  servers s;
  for (int i = 0; i < 3; ++i) s.mysql(the_mysql().dsn("lost_answers", proxy.port()));
  run_clients_and_lose_answers(s, proxy);
}

TEST_CASE("three servers on MySQL that is killed and started again") {
  servers s;
  for (int i = 0; i < 3; ++i) s.mysql(the_mysql().dsn("killed"));
  int killed = 0;
  run_clients(s, 60, [&](int n) {
    if (n % 40 != 20 || killed == 2) return;
    ++killed;
    the_mysql().stop(SIGKILL);
    the_mysql().start();
  });
  CHECK(killed > 0);
}

TEST_CASE("three servers on Redis") {
  servers s;
  for (int i = 0; i < 3; ++i) s.redis(the_redis().url(40));
  run_clients(s, 40, {});
}

TEST_CASE("three servers on Redis whose answers get lost") {
  datastore::cutting_proxy proxy(the_redis().port());
  servers s;
  for (int i = 0; i < 3; ++i) s.redis(fmt::format("127.0.0.1:{}/41", proxy.port()));
  run_clients_and_lose_answers(s, proxy);
}

TEST_CASE("three servers on etcd") {
  datastore::etcd_server own;
  servers s;
  for (int i = 0; i < 3; ++i) s.etcd(own.endpoint());
  run_clients(s, 40, {});
}

TEST_CASE("three servers on etcd whose answers get lost") {
  datastore::etcd_server own;
  datastore::cutting_proxy proxy(own.port());
  servers s;
  for (int i = 0; i < 3; ++i) s.etcd(fmt::format("http://127.0.0.1:{}", proxy.port()));
  run_clients_and_lose_answers(s, proxy);
}

TEST_CASE("three servers on Redis that is killed and started again") {
  servers s;
  for (int i = 0; i < 3; ++i) s.redis(the_redis().url(42));
  int killed = 0;
  run_clients(s, 60, [&](int n) {
    if (n % 40 != 20 || killed == 2) return;
    ++killed;
    the_redis().stop(SIGKILL);
    the_redis().start();
  });
  CHECK(killed > 0);
}

TEST_CASE("what one server has acknowledged is no reason for another to refuse the write that follows it") {
  servers s;
  SUBCASE("PostgreSQL") {
    for (int i = 0; i < 2; ++i) s.postgres(the_postgres().url("turns"));
  }
  SUBCASE("MySQL") {
    for (int i = 0; i < 2; ++i) s.mysql(the_mysql().dsn("turns"));
  }
  SUBCASE("Redis") {
    for (int i = 0; i < 2; ++i) s.redis(the_redis().url(43));
  }
  auto key = std::string("/registry/configmaps/default/turn");
  auto write = [&](int server, write_kind kind, revision expected) {
    auto done = s.loop.run_until(s.all[static_cast<std::size_t>(server)]->write(
        {kind, key, kind == write_kind::remove ? std::string() : config_map("turn", "v"), expected, 0}));
    REQUIRE_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
    return done->at;
  };
  for (int i = 0; i < 20; ++i) {
    auto at = write(0, write_kind::create, 0);
    at = write(1, write_kind::update, at);
    at = write(0, write_kind::update, at);
    write(1, write_kind::remove, at);
    // The other still has it, until it is told.
    at = write(0, write_kind::create, 0);
    write(1, write_kind::remove, 0);
  }
}

TEST_CASE("three servers whose database restarts under them") {
  servers s;
  for (int i = 0; i < 3; ++i) s.postgres(the_postgres().url("restarting"));
  bool restarted = false;
  run_clients(s, 60, [&](int n) {
    if (n != 30) return;
    restarted = true;
    the_postgres().stop("immediate");
    the_postgres().start();
  });
  CHECK(restarted);
}

TEST_CASE(
    "without the database writes and linearizable reads are refused soon; what is in memory is read, watches go on") {
  servers s;
  for (int i = 0; i < 2; ++i) s.postgres(the_postgres().url("away"));
  auto& loop = s.loop;
  REQUIRE(loop.run_until(
                  s.all[0]->write({write_kind::create, "/registry/configmaps/default/a", config_map("a", "v"), 0, 0}))
              .has_value());
  REQUIRE(loop.run_until(s.all[1]->latest()).has_value());
  std::vector<event_ref> seen;
  reactor::scope watches;
  watches.spawn(watching(*s.all[1], seen));
  the_postgres().stop("fast");
  CHECK(s.until([&] { return !s.all[0]->healthy().has_value() && !s.all[1]->healthy().has_value(); }));
  // Each server knows of one lost connection; that the others have ended too is in their sockets.
  for (int i = 0; i < 20; ++i) loop.turn(monotonic_clock::now() + 5ms);
  auto before = monotonic_clock::now();
  auto written = loop.run_until(
      s.all[0]->write({write_kind::create, "/registry/configmaps/default/b", config_map("b", "v"), 0, 0}));
  REQUIRE(!written.has_value());
  CHECK(written.error().code == errc::unavailable);
  auto read = loop.run_until(s.all[0]->latest());
  REQUIRE(!read.has_value());
  CHECK(read.error().code == errc::unavailable);
  CHECK(monotonic_clock::now() - before < 30s);
  CHECK(s.all[1]->current().find("/registry/configmaps/default/a"));
  CHECK(watches.size() == 1);
  the_postgres().start();
  auto up = monotonic_clock::now();
  CHECK(s.until([&] { return s.all[0]->healthy().has_value() && s.all[1]->healthy().has_value(); }));
  MESSAGE("back after " << std::chrono::duration<double, std::milli>(monotonic_clock::now() - up).count() << " ms");
  REQUIRE(loop.run_until(
                  s.all[0]->write({write_kind::create, "/registry/configmaps/default/b", config_map("b", "v"), 0, 0}))
              .has_value());
  CHECK(s.until([&] { return !seen.empty(); }));
}

TEST_CASE("a server that slept past a compaction reads everything again, and tells its watches what is gone") {
  servers s;
  s.postgres(the_postgres().url("sleeper"));
  auto& loop = s.loop;
  for (auto name : {"stays", "goes", "changes"}) {
    auto done = loop.run_until(s.all[0]->write(
        {write_kind::create, fmt::format("/registry/configmaps/default/{}", name), config_map(name, "v"), 0, 0}));
    REQUIRE(done.has_value());
  }
  std::vector<event_ref> seen;
  reactor::scope watches;
  watches.spawn(watching(*s.all[0], seen));
  // Everything happens while the loop does not turn: removed, changed, 3,000 others, and compacted.
  sql_session sql(the_postgres().url("sleeper"));
  sql("INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease) SELECT name, 0, 1, 0, id, 0 "
      "FROM kine "
      "WHERE name LIKE '%goes'");
  sql("INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value) SELECT name, 0, 0, id, "
      "id, 0, "
      "convert_to(replace(convert_from(value, 'UTF8'), '\"v\"', '\"w\"'), 'UTF8') FROM kine WHERE name LIKE "
      "'%changes'");
  sql("INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value) SELECT "
      "'/registry/events/default/' || g, "
      "1, 0, 0, 0, 0, convert_to('{\"kind\":\"Event\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"' || g || '\"}}', "
      "'UTF8') "
      "FROM generate_series(1, 3000) g");
  sql("DELETE FROM kine WHERE id IN (SELECT prev_revision FROM kine WHERE id <= 1500) OR (id <= 1500 AND deleted = 1)");
  sql("UPDATE kine SET prev_revision = 1500 WHERE name = 'compact_rev_key'");
  CHECK(s.until([&] { return s.all[0]->current().count("/registry/events/") == 3000; }));
  auto now = s.all[0]->current();
  CHECK(now.find("/registry/configmaps/default/stays"));
  CHECK(!now.find("/registry/configmaps/default/goes"));
  CHECK(std::string(now.find("/registry/configmaps/default/changes")->bytes()).find("\"w\"") != std::string::npos);
  REQUIRE(s.until([&] { return seen.size() >= 2; }));
  CHECK(seen.size() == 2);
  std::set<std::string> what;
  for (auto& e : seen)
    what.insert(fmt::format("{} {}", e->type == event_type::deleted ? "deleted" : "modified", e->object->key()));
  CHECK(what == std::set<std::string>{"deleted /registry/configmaps/default/goes",
                                      "modified /registry/configmaps/default/changes"});
}

TEST_CASE("a store stops serving when its database has another history") {
  servers s;
  s.postgres(the_postgres().url("forked"));
  auto& loop = s.loop;
  for (int i = 0; i < 3; ++i) {
    auto name = fmt::format("n{}", i);
    REQUIRE(loop.run_until(s.all[0]->write({write_kind::create, "/registry/configmaps/default/" + name,
                                            config_map(name, "v"), 0, 0}))
                .has_value());
  }
  std::vector<event_ref> seen;
  reactor::scope watches;
  watches.spawn(watching(*s.all[0], seen));
  sql_session sql(the_postgres().url("forked"));
  sql("DELETE FROM kine WHERE id >= 4");
  sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'forked' AND application_name = 'kedge'");
  CHECK(s.until([&] { return watches.size() == 0; }));
  REQUIRE(!s.all[0]->healthy().has_value());
  CHECK(s.all[0]->healthy().error().code == errc::corrupt);
  CHECK(s.until([&] { return s.lost_history.size() == 1; }));
  CHECK(!loop.run_until(
                 s.all[0]->write({write_kind::create, "/registry/configmaps/default/x", config_map("x", "v"), 0, 0}))
             .has_value());
}

}  // namespace kedge::store
