// redis_test.cc: what is Redis's own: its durability, fences, lost data, replicas, memory, passwords and TLS.
#include "datastore/redis/redis_log.h"

#include <doctest/doctest.h>

#include <fstream>

#include "backends.h"
#include "cutting_proxy.h"
#include "redis_server.h"
#include "runner.h"

namespace kedge::datastore {
namespace {

using namespace std::chrono_literals;

class database final : public test_database {
 public:
  database(const redis_server& r, int n, std::string_view options = "") : endpoint_(r.url(n, options)) {}
  explicit database(std::string endpoint, bool tls = false) : endpoint_(std::move(endpoint)), tls_(tls) {}
  std::unique_ptr<log> make() override {
    auto s = redis::parse_endpoint(endpoint_, tls_);
    REQUIRE_MESSAGE(s.has_value(), s.error().message);
    s->ca_file = ca_file;
    return make_redis_log({.connection = *s, .start_wait = start_wait, .history_bytes = history_bytes});
  }
  bool shared() const override { return true; }

  std::string ca_file;
  std::chrono::milliseconds start_wait = patience;
  std::size_t history_bytes = redis::history_bytes_max;

 private:
  std::string endpoint_;
  bool tls_ = false;
};

batch one(operation op) {
  return std::make_shared<const std::vector<operation>>(std::vector<operation>{std::move(op)});
}

}  // namespace

TEST_CASE("Redis: keys are what scripts.h says") {
  database db(the_redis(), 50, "?prefix=mine");
  runner r;
  server s(db);
  r.must(s.start());
  r.must(s.write({create("/registry/a", "one", 60)}));
  r.must(s.write({update(s.heads().at("/registry/a"), "two")}));
  r.must(s.write({create("/registry/b", "x")}));
  r.must(s.write({remove(s.heads().at("/registry/b"))}));
  redis_session redis(the_redis().port(), 50);
  CHECK(redis({"HMGET", "{mine}:meta", "schema", "rev", "compacted"}) == "1 6 0");
  CHECK(redis({"HGETALL", "{mine}:heads"}) == "/registry/health 2:2 /registry/a 4:3");
  auto log = redis({"XRANGE", "{mine}:log", "3", "+"});
  for (auto part : {"3-0 t ", " k c n /registry/a p 0 c 3 l 60 v one", " k u n /registry/a p 3 c 3 l 0 v two",
                    " k d n /registry/b p 5 c 0 l 0 v "})
    CHECK_MESSAGE(log.find(part) != std::string::npos, log);
  r.end(s);
}

TEST_CASE("Redis: values and names of any shape, batches of any size") {
  database db(the_redis(), 51);
  runner r;
  server s(db), other(db);
  r.must(s.start());
  r.must(other.start());
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  r.must(s.write({create("/registry/bytes", all), create("/registry/empty", ""),
                  create("/registry/large", std::string(3 * 1024 * 1024, 'x')), create("/registry/" + all, "v")}));
  // More than one call, while the other server writes between: nobody misses anything.
  for (int round = 0; round < 5; ++round) {
    std::vector<operation> ops;
    for (int i = 0; i < 700; ++i)
      ops.push_back(create(fmt::format("/registry/n{}/{}", round, i), std::string(900, 'y')));
    reactor::scope group;
    group.spawn([](server& w, int n) -> task<void> {
      for (int i = 0; i < 30; ++i)
        CHECK((co_await w.write({create(fmt::format("/registry/o{}/{}", n, i), "v")})).has_value());
    }(other, round));
    for (auto& o : r.must(s.write(std::move(ops)))) CHECK(o.what == outcome::status::committed);
    REQUIRE(r.until([&] { return group.size() == 0; }));
  }
  // And 3,500 entries of others before one of ours.
  r.must(other.write({create("/registry/late", "v")}));
  server fresh(db);
  r.must(fresh.start());
  r.must(s.catch_up(fresh.applied(), r.in(patience)));
  CHECK(fresh.heads().size() == 1 + 4 + 3500 + 150 + 1);
  CHECK(fresh.heads().at("/registry/bytes").value == all);
  CHECK(fresh.heads().at("/registry/" + all).value == "v");
  CHECK(fresh.heads().at("/registry/large").value.size() == 3 * 1024 * 1024);
  for (auto* one : {&s, &other}) {
    REQUIRE(one->history().size() == fresh.history().size());
    for (std::size_t i = 0; i < fresh.history().size(); ++i) {
      auto &a = one->history()[i], &b = fresh.history()[i];
      bool same = a.at == b.at && a.name == b.name && a.value == b.value && a.kind == b.kind &&
                  a.created == b.created && a.lease_seconds == b.lease_seconds;
      if (!same) FAIL("differs at " << b.at);
    }
    r.end(*one);
  }
  r.end(fresh);
}

TEST_CASE("Redis: a call of a session that was given up does nothing, however late it runs") {
  database db(the_redis(), 52);
  runner r;
  server s(db);
  r.must(s.start());
  redis_session redis(the_redis().port(), 52);
  // As a new session of the same server would.
  auto key = redis({"KEYS", "*server*"});
  redis({"HINCRBY", key, "fence", "1"});
  // The log notices, begins a session of its own, and tries again: once.
  CHECK(r.must(s.write({create("/registry/a", "v")}))[0].at == 3);
  CHECK(r.must(s.raw().current()) == 3);
  // Scripts may be flushed, too.
  redis({"SCRIPT", "FLUSH"});
  CHECK(r.must(s.write({create("/registry/b", "v")}))[0].at == 4);
  r.end(s);
}

TEST_CASE("Redis: a write whose answer is lost is found again") {
  cutting_proxy proxy(the_redis().port());
  database db(fmt::format("127.0.0.1:{}/53", proxy.port()));
  runner r;
  server s(db);
  r.must(s.start());
  for (int i = 0; i < 20; ++i) {
    proxy.lose_next_answer();
    auto done = r.loop.run_until(s.write({create(fmt::format("/registry/{}", i), "v")}));
    // The subscription's or the writer's answer was lost; what is said must be true in any case.
    bool there =
        redis_session(the_redis().port(), 53)({"HEXISTS", "{kedge}:heads", fmt::format("/registry/{}", i)}) == "1";
    CHECK(done.has_value() == there);
    if (!done) CHECK(done.error().code == errc::unavailable);
  }
  r.end(s);
}

TEST_CASE("Redis is stopped, killed, started: refused meanwhile, everything is there again") {
  redis_server own;
  database db(own, 0);
  runner r;
  server s(db), t(db);
  r.must(s.start());
  r.must(t.start());
  r.must(s.write({create("/registry/before", "v")}));
  for (int how : {SIGTERM, SIGKILL}) {
    CAPTURE(how);
    own.stop(how);
    CHECK(r.until([&] { return !s.raw().healthy().has_value(); }));
    auto refused = r.loop.run_until(s.raw().append(one(create("/registry/away", "v"))));
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == errc::unavailable);
    auto now = r.loop.run_until(s.raw().current());
    REQUIRE(!now.has_value());
    CHECK(now.error().code == errc::unavailable);
    auto page = r.loop.run_until(t.raw().tail(t.applied(), monotonic_clock::now() + 50ms));
    REQUIRE(page.has_value());
    CHECK(page->entries.empty());
    own.start();
    auto up = monotonic_clock::now();
    CHECK(r.until([&] { return s.raw().healthy().has_value() && t.raw().healthy().has_value(); }));
    MESSAGE("back after " << std::chrono::duration<double, std::milli>(monotonic_clock::now() - up).count() << " ms");
    auto done = r.must(s.write({create(fmt::format("/registry/after-{}", how), "v")}));
    CHECK(done[0].what == outcome::status::committed);
    r.must(t.catch_up(done[0].at, r.in(patience)));
    CHECK(t.heads().contains(fmt::format("/registry/after-{}", how)));
  }
  server fresh(db);
  r.must(fresh.start());
  CHECK(fresh.heads().contains("/registry/before"));
  r.end(fresh);
  r.end(s);
  r.end(t);
}

TEST_CASE("Redis: lost or changed data is noticed, and nothing is served from it") {
  struct row {
    const char* name;
    std::vector<std::vector<std::string>> damage;
    const char* says;
  } table[] = {
      {"wiped", {{"FLUSHDB"}}, "its newest revision is 0"},
      {"shorter", {{"XDEL", "{kedge}:log", "6-0"}, {"HSET", "{kedge}:meta", "rev", "5"}}, "its newest revision is 5"},
      {"other",
       {{"DEL", "{kedge}:log"},
        {"XADD", "{kedge}:log", "6-0", "t", "other", "k", "c", "n", "/registry/3", "p", "0", "c", "6", "l", "0", "v",
         "v"}},
       "revision 6 is not what it was"},
  };
  int n = 54;
  for (auto& t : table) {
    CAPTURE(t.name);
    for (bool idle : {true, false}) {
      database db(the_redis(), n);
      runner r;
      server s(db);
      r.must(s.start());
      for (int i = 0; i < 4; ++i) r.must(s.write({create(fmt::format("/registry/{}", i), "v")}));
      redis_session redis(the_redis().port(), n);
      for (auto& d : t.damage) redis(d);
      if (idle) {
        redis({"CLIENT", "KILL", "TYPE", "normal"});
        REQUIRE(r.until([&] {
          auto h = s.raw().healthy();
          return !h && h.error().code == errc::corrupt;
        }));
      }
      auto refused = r.loop.run_until(s.write({create("/registry/new", "v")}));
      REQUIRE(!refused.has_value());
      // Without its fence the first try ends in a new session, which sees the rest.
      CHECK(refused.error().code == errc::corrupt);
      CHECK_MESSAGE(refused.error().message.find(t.says) != std::string::npos, refused.error().message);
      auto tail = r.loop.run_until(s.raw().tail(s.applied(), monotonic_clock::now() + 50ms));
      REQUIRE(!tail.has_value());
      CHECK(tail.error().code == errc::corrupt);
      CHECK(redis({"HEXISTS", "{kedge}:heads", "/registry/new"}) == "0");
      r.end(s);
      redis({"FLUSHDB"});
    }
    ++n;
  }
}

TEST_CASE("Redis: memory is bounded, by compacting when much was written") {
  database db(the_redis(), 57);
  db.history_bytes = 2 * 1024 * 1024;
  runner r;
  server s(db), sleeper(db);
  r.must(s.start());
  r.must(s.write({create("/registry/stays", std::string(1000, 's')), create("/registry/hot", "0")}));
  r.must(sleeper.start());
  for (int i = 0; i < 20'000; ++i) r.must(s.write({update(s.heads().at("/registry/hot"), std::string(2000, 'h'))}));
  redis_session redis(the_redis().port(), 57);
  // 40 MB were written.
  auto kept = [&] { return std::stoul(redis({"MEMORY", "USAGE", "{kedge}:log", "SAMPLES", "0"})); };
  CHECK_MESSAGE(r.until([&] { return kept() < 12 * 1024 * 1024; }), kept());
  auto late = r.loop.run_until(sleeper.raw().tail(sleeper.applied(), monotonic_clock::now() + patience));
  REQUIRE(!late.has_value());
  CHECK(late.error().code == errc::expired);
  server fresh(db);
  r.must(fresh.start());
  CHECK(fresh.heads().size() == 3);
  CHECK(fresh.applied() == s.applied());
  r.end(s);
  r.end(sleeper);
  r.end(fresh);
}

TEST_CASE("Redis: with replicas asked for, a write that they don't have is told to be unsafe") {
  redis_server primary;
  auto replica = std::make_unique<redis_server>(redis_setup{.replica_of = primary.port()});
  redis_session at_replica(replica->port());
  database db(primary, 0, "?replicas=1&replica_timeout=5000");
  runner r;
  server s(db);
  REQUIRE(
      r.until([&] { return at_replica({"INFO", "replication"}).find("master_link_status:up") != std::string::npos; }));
  r.must(s.start());
  auto safe = r.must(s.raw().append(one(create("/registry/safe", "v"))));
  CHECK(!safe.unsafe.has_value());
  CHECK(at_replica({"HEXISTS", "{kedge}:heads", "/registry/safe"}) == "1");

  SUBCASE("the replica is gone") {
    replica->stop(SIGKILL);
    auto done = r.must(s.raw().append(one(create("/registry/unsafe", "v"))));
    REQUIRE(done.unsafe.has_value());
    CHECK(done.unsafe->code == errc::timeout);
    CHECK(done.unsafe->message.find("only 0 of 1 of the database's replicas") != std::string::npos);
    CHECK(done.outcomes[0].what == outcome::status::committed);
  }
  SUBCASE("the primary becomes a replica: nothing is read from it, nothing written") {
    redis_session at_primary(primary.port());
    at_primary({"REPLICAOF", "127.0.0.1", std::to_string(replica->port())});
    auto now = r.loop.run_until(s.raw().current());
    REQUIRE(!now.has_value());
    CHECK(now.error().code == errc::unavailable);
    auto refused = r.loop.run_until(s.raw().append(one(create("/registry/more", "v"))));
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == errc::unavailable);
    at_primary({"REPLICAOF", "NO", "ONE"});
    CHECK(r.until([&] { return s.raw().healthy().has_value(); }));
  }
  r.end(s);
}

TEST_CASE("Redis: a server that swallows everything counts as away within two seconds, and is back at once") {
  cutting_proxy proxy(the_redis().port());
  database db(fmt::format("127.0.0.1:{}/58", proxy.port()));
  runner r;
  server s(db);
  r.must(s.start());
  auto& log = s.raw();
  reactor::scope following;
  following.spawn([](class log& l) -> task<void> {
    for (;;) (void)co_await l.tail(2, reactor::loop::current().now() + patience);
  }(log));
  CHECK(!r.until([&] { return !log.healthy().has_value(); }, 1s));
  proxy.stand_still(true);
  auto before = monotonic_clock::now();
  REQUIRE(r.until([&] { return !log.healthy().has_value(); }));
  auto noticed = monotonic_clock::now() - before;
  CHECK(noticed < busy * 2s);
  auto asked = r.loop.run_until(log.current());
  REQUIRE(!asked.has_value());
  CHECK(asked.error().code == errc::unavailable);
  CHECK(monotonic_clock::now() - before - noticed < busy * 1500ms);
  proxy.stand_still(false);
  REQUIRE(r.until([&] { return log.healthy().has_value(); }));
  CHECK(r.must(log.current()) == 2);
  following.cancel();
  r.end(s);
}

TEST_CASE("Redis: an append's answer is bounded, whatever others have written") {
  database db(the_redis(), 59);
  runner r;
  server s(db), late(db);
  r.must(s.start());
  r.must(late.start());
  for (int i = 0; i < 60; ++i)
    r.must(s.write({create(fmt::format("/registry/large/{}", i), std::string(500'000, 'x'))}));
  redis_session redis(the_redis().port());
  redis({"CONFIG", "RESETSTAT"});
  auto sent = [&] {
    auto text = redis({"INFO", "stats"});
    auto at = text.find("total_net_output_bytes:");
    return std::stoul(text.substr(at + 23));
  };
  auto done = r.must(late.raw().append(one(create("/registry/mine", "v"))));
  // Everything came, once, in pages.
  CHECK(done.others.size() == 61);
  CHECK(sent() < 60 * 500'000 + 8 * 500'000 + 1'000'000);
  r.end(s);
  r.end(late);
}

TEST_CASE("Redis: users, passwords, TLS") {
  char name[] = "/tmp/kedge-redis-tls-XXXXXX";
  std::string folder = ::mkdtemp(name);
  struct remover {
    std::string& f;
    ~remover() { std::filesystem::remove_all(f); }
  } guard{folder};
  auto made = ::system(fmt::format("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
                                   "-subj /CN=redis -addext subjectAltName=IP:127.0.0.1 -keyout {0}/key -out {0}/cert "
                                   "> {0}/out 2>&1",
                                   folder)
                           .c_str());
  REQUIRE(made == 0);
  int tls_port = free_port();
  redis_server own({.more = {"--tls-port",
                             std::to_string(tls_port),
                             "--tls-cert-file",
                             folder + "/cert",
                             "--tls-key-file",
                             folder + "/key",
                             "--tls-auth-clients",
                             "no",
                             "--user",
                             "quiet",
                             "on",
                             ">p%40ss",
                             "~*",
                             "+@all",
                             "resetchannels",
                             "--user",
                             "weak",
                             "on",
                             ">weak",
                             "~*",
                             "+@read",
                             "--requirepass",
                             "s3cret"}});
  struct row {
    std::string endpoint;
    bool tls, trusted;
    errc refused;  // internal: it works
    const char* says;
  } table[] = {
      {fmt::format(":s3cret@127.0.0.1:{}/1", own.port()), false, false, errc::internal, ""},
      {fmt::format(":wrong@127.0.0.1:{}/1", own.port()), false, false, errc::forbidden, "refuses user or password"},
      {fmt::format("127.0.0.1:{}/1", own.port()), false, false, errc::forbidden, "password"},
      {fmt::format("weak:weak@127.0.0.1:{}/1", own.port()), false, false, errc::forbidden, ""},
      {fmt::format("quiet:p%2540ss@127.0.0.1:{}/2", own.port()), false, false, errc::internal, ""},
      {fmt::format(":s3cret@127.0.0.1:{}/3", tls_port), true, true, errc::internal, ""},
      {fmt::format(":s3cret@127.0.0.1:{}/3?skip_verify=true", tls_port), true, false, errc::internal, ""},
      {fmt::format(":s3cret@127.0.0.1:{}/3", tls_port), true, false, errc::forbidden, "certificate"},
  };
  for (auto& t : table) {
    CAPTURE(t.endpoint);
    database db(t.endpoint, t.tls);
    db.ca_file = t.trusted ? folder + "/cert" : "";
    db.start_wait = 3s;
    runner r;
    server s(db), watcher(db);
    auto up = r.loop.run_until(s.start());
    if (t.refused != errc::internal) {
      REQUIRE(!up.has_value());
      CHECK_MESSAGE(up.error().code == t.refused, up.error().message);
      CHECK_MESSAGE(up.error().message.find(t.says) != std::string::npos, up.error().message);
      CHECK(up.error().message.find("s3cret") == std::string::npos);
      r.end(s);
      continue;
    }
    REQUIRE_MESSAGE(up.has_value(), up.error().message);
    r.must(watcher.start());
    // Also where the channel is forbidden.
    auto wrote = r.must(s.write({create(fmt::format("/registry/{}", s.applied()), std::string(100'000, 'v'))}));
    r.must(watcher.catch_up(wrote[0].at, r.in(patience)));
    r.end(s);
    r.end(watcher);
  }
}

}  // namespace kedge::datastore
