// mysql_links_test.cc: what happens to connections to MySQL: lost, silent, frozen, killed, read only, small, with TLS.
#include <doctest/doctest.h>

#include <algorithm>

#include "cutting_proxy.h"
#include "datastore/mysql/mysql_log.h"
#include "mysql_database.h"
#include "runner.h"

namespace kedge::datastore {
namespace {

using namespace std::chrono_literals;
using database = mysql_test_database;

}  // namespace

TEST_CASE("MySQL: a frozen server counts as away within two seconds, and loses nothing that it had been sent") {
  auto& own = spare();
  database db("frozen", own);
  runner r;
  server s(db);
  r.must(s.start());
  r.must(s.write({create("/registry/before", "v")}));
  reactor::scope group, following;
  following.spawn([](server& w) -> task<void> {
    for (;;) (void)co_await w.follow(reactor::loop::current().now() + patience);
  }(s));
  ::kill(own.pid(), SIGSTOP);
  auto before = monotonic_clock::now();
  std::optional<result<appended>> doubt;
  group.spawn([](class log& l, std::optional<result<appended>>& out) -> task<void> {
    out.emplace(co_await l.append(one(create("/registry/frozen", "v"))));
  }(s.raw(), doubt));
  CHECK(r.until([&] { return !s.raw().healthy().has_value(); }));
  CHECK(monotonic_clock::now() - before < busy * 3s);
  ::kill(own.pid(), SIGCONT);
  REQUIRE(r.until([&] { return doubt.has_value(); }));
  REQUIRE(r.until([&] { return s.raw().healthy().has_value(); }));
  following.cancel();
  auto page = r.must(s.raw().load(s.applied()));
  // Told that it landed, or in doubt; then the log knows.
  mysql_session sql(db.at());
  CHECK(sql("SELECT COUNT(*) FROM kine WHERE name = '/registry/frozen'")[0] ==
        (doubt->has_value() || s.heads().contains("/registry/frozen") || page.entries.size() == 1 ? "1" : "0"));
  r.end(s);
}

TEST_CASE("MySQL: a write whose answer is lost is found again, or known not to have landed") {
  database db("doubt");
  runner r;
  server s(db);
  r.must(s.start());
  // A second session holds the append lock, so ours waits inside of the server when it is ended.
  for (bool let_go : {false, true}) {
    CAPTURE(let_go);
    mysql_session holder(db.at()), killer(db.at());
    holder(fmt::format("SELECT GET_LOCK({}, 5)", append_lock));
    std::optional<result<appended>> answer;
    reactor::scope group;
    auto name = fmt::format("/registry/doubt-{}", let_go);
    group.spawn([](server& w, std::string key, std::optional<result<appended>>& out) -> task<void> {
      out.emplace(co_await w.raw().append(one(create(key, "v"))));
    }(s, name, answer));
    auto waits = "SELECT id FROM information_schema.processlist WHERE db = 'doubt' AND state = 'User lock'";
    REQUIRE(r.until([&] { return !killer(waits).empty(); }));
    auto id = killer(waits)[0];
    if (let_go)
      holder(fmt::format("SELECT RELEASE_LOCK({})", append_lock));
    else
      killer("KILL " + id);
    REQUIRE(r.until([&] { return answer.has_value(); }));
    if (let_go) {
      CHECK(answer->has_value());
    } else {
      REQUIRE(!answer->has_value());
      CHECK(answer->error().code == errc::unknown_outcome);
      holder(fmt::format("SELECT RELEASE_LOCK({})", append_lock));
      auto page = r.must(s.raw().load(s.applied()));
      CHECK(page.entries.empty());
      // And it can't come later.
      CHECK(killer("SELECT count(*) FROM kine WHERE name = '" + name + "'")[0] == "0");
    }
  }
  r.end(s);
}

TEST_CASE("MySQL: a session that was lost with its write is ended before anything is read") {
  database db("ended");
  cutting_proxy proxy(the_mysql().port());
  runner r;
  auto log = make_mysql_log({.connection = db.settings(proxy.port()), .start_wait = patience});
  r.must(log->open());
  auto loaded = r.must(log->load(0));
  r.must(log->begin());
  mysql_session holder(db.at());
  for (int i = 0; i < 20; ++i) {
    // The answer is lost, or that of a question beside it.
    std::optional<result<appended>> answer;
    auto name = fmt::format("/registry/n{}", i);
    proxy.lose_next_answer();
    answer.emplace(r.loop.run_until(log->append(one(create(name, "v")))));
    auto page = r.must(log->load(loaded.at));
    auto there = holder("SELECT COUNT(*) FROM kine WHERE name = '" + name + "'")[0];
    bool found = std::ranges::any_of(page.entries, [&](auto& e) { return e.name == name; });
    CHECK(there == (found ? "1" : "0"));
    if (answer->has_value()) CHECK(found);
    loaded.at = page.at;
  }
  r.loop.run_until(log->close());
}

TEST_CASE("MySQL: the database restarts: refused meanwhile, back within a second") {
  auto& own = spare();
  database db("restart", own);
  runner r;
  server s(db), t(db);
  r.must(s.start());
  r.must(t.start());
  r.must(s.write({create("/registry/before", "v")}));
  for (auto how : {SIGTERM, SIGKILL}) {
    CAPTURE(how);
    own.stop(how);
    CHECK(r.until([&] { return !s.raw().healthy().has_value(); }));
    // One lost connection is known of; that the other has ended too is in its socket.
    for (int i = 0; i < 20; ++i) r.loop.turn(monotonic_clock::now() + 5ms);
    auto refused = r.loop.run_until(s.raw().append(one(create("/registry/away", "v"))));
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == errc::unavailable);
    auto now = r.loop.run_until(s.raw().current());
    REQUIRE(!now.has_value());
    CHECK(now.error().code == errc::unavailable);
    // Following goes on waiting.
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
  r.end(s);
  r.end(t);
}

TEST_CASE("MySQL: a server that becomes read only is left, whatever the user may, and taken again") {
  auto& own = spare();
  database db("read_only", own);
  runner r;
  server s(db);
  r.must(s.start());
  mysql_session admin(own.at(""));
  for (int i = 0; i < 2; ++i) {
    admin("SET GLOBAL read_only = 1");
    auto refused = r.loop.run_until(s.raw().append(one(create("/registry/away", "v"))));
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == errc::unavailable);
    CHECK(r.until([&] { return !s.raw().healthy().has_value(); }));
    auto now = r.loop.run_until(s.raw().current());
    REQUIRE(!now.has_value());
    CHECK(now.error().code == errc::unavailable);
    admin("SET GLOBAL read_only = 0");
    CHECK(r.until([&] { return s.raw().healthy().has_value(); }));
    CHECK(r.must(s.write({create(fmt::format("/registry/after-{}", i), "v")}))[0].what == outcome::status::committed);
  }
  CHECK(mysql_session(db.at())("SELECT COUNT(*) FROM kine WHERE name = '/registry/away'")[0] == "0");
  r.end(s);
}

TEST_CASE("MySQL: a server that takes little at once gets a batch in pieces, and an object that is larger is refused") {
  auto& own = spare();
  mysql_session(own.at(""))("SET GLOBAL max_allowed_packet = 1048576");
  database db("packets", own);
  runner r;
  server s(db);
  r.must(s.start());
  std::vector<operation> ops;
  for (int i = 0; i < 30; ++i) ops.push_back(create(fmt::format("/registry/{}", i), std::string(200'000, 'a')));
  auto done = r.must(s.write(ops));
  for (auto& o : done) CHECK(o.what == outcome::status::committed);
  // All or nothing, in pieces too.
  ops[3].name = "/registry/new";
  ops[29].guards = {{"/registry/0", 1}};
  done = r.must(s.write(ops));
  for (std::size_t i = 0; i < ops.size(); ++i)
    CHECK(done[i].what == (i == 3    ? outcome::status::committed
                           : i == 29 ? outcome::status::guard_failed
                                     : outcome::status::conflict));
  auto large = r.loop.run_until(s.write({create("/registry/large", std::string(1024 * 1024, 'x'))}));
  REQUIRE(!large.has_value());
  CHECK(large.error().code == errc::too_large);
  CHECK(r.must(s.write({create("/registry/after", "v")}))[0].what == outcome::status::committed);
  server t(db);
  r.must(t.start());
  CHECK(t.heads().size() == s.heads().size());
  r.end(s);
  r.end(t);
  mysql_session(own.at(""))("SET GLOBAL max_allowed_packet = 16777216");
}

TEST_CASE("MySQL: TLS, passwords and sockets") {
  auto& own = spare();
  auto folder = own.folder();
  auto shell = [&](const std::string& command) {
    REQUIRE(::system(("cd " + folder + " && (" + command + ") >> commands 2>&1").c_str()) == 0);
  };
  shell(
      "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem && "
      "openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr && "
      "printf 'subjectAltName=DNS:localhost' > names && "
      "openssl x509 -req -in server.csr -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out "
      "server.pem && "
      "chmod 644 *.key *.pem");
  auto attempt = [&](const std::string& dsn, bool ca) -> std::string {
    auto s = mysql::parse_dsn(dsn, ca);
    REQUIRE_MESSAGE(s.has_value(), s.error().message);
    if (ca) {
      s->ca_file = folder + "/ca.pem";
      if (s->tls == mysql::settings::tls_use::none) s->tls = mysql::settings::tls_use::checked;
    }
    runner r;
    auto log = make_mysql_log({.connection = *s, .start_wait = 50ms});
    auto done = r.loop.run_until(log->open());
    if (done) done = r.loop.run_until(log->begin());
    r.loop.run_until(log->close());
    if (!done) CHECK_MESSAGE(done.error().message.find("secret") == std::string::npos, done.error().message);
    return done ? "" : done.error().message;
  };
  auto at = [&](std::string_view who, std::string_view host, std::string_view rest) {
    return fmt::format("{}@tcp({}:{})/tls{}", who, host, own.port(), rest);
  };
  auto says = [](const std::string& text, std::string_view what) { return text.find(what) != std::string::npos; };
  CHECK(attempt(at("kedge:secret", "127.0.0.1", ""), false) == "");
  CHECK(attempt(fmt::format("root@unix({})/socketed", own.socket()), false) == "");
  CHECK(says(attempt(at("kedge:secretly", "127.0.0.1", ""), false), "Access denied"));
  CHECK(attempt(at("kedge:secret", "127.0.0.1", "?tls=preferred"), false) == "");
  for (auto way : {"?tls=skip-verify", "?tls=true"})
    CHECK(says(attempt(at("kedge:secret", "127.0.0.1", way), false), "TLS"));
  CHECK(attempt(at("kedge:secret", "127.0.0.1", ""), true) != "");
  own.stop();
  own.start({"--ssl-ca=" + folder + "/ca.pem", "--ssl-cert=" + folder + "/server.pem",
             "--ssl-key=" + folder + "/server.key"});
  mysql_session admin(own.at(""));
  admin("CREATE USER only@'%' IDENTIFIED BY 'secret' REQUIRE SSL; GRANT ALL ON *.* TO only@'%'");
  CHECK(says(attempt(at("only:secret", "localhost", ""), false), "Access denied"));
  CHECK(attempt(at("only:secret", "127.0.0.1", "?tls=skip-verify"), false) == "");
  CHECK(attempt(at("only:secret", "127.0.0.1", "?tls=preferred"), false) == "");
  CHECK(attempt(at("only:secret", "localhost", ""), true) == "");
  CHECK(attempt(at("only:secret", "localhost", "?tls=true"), true) == "");
  // Another name, and an authority that is nobody's.
  CHECK(attempt(at("only:secret", "127.0.0.1", ""), true) != "");
  CHECK(attempt(at("only:secret", "localhost", "?tls=true"), false) != "");
  // Variables of the endpoint are the session's; one that doesn't exist is named.
  CHECK(attempt(at("kedge:secret", "127.0.0.1", "?wait_timeout=100"), false) == "");
  CHECK(says(attempt(at("kedge:secret", "127.0.0.1", "?no_such=1"), false), "no_such"));
}

}  // namespace kedge::datastore
