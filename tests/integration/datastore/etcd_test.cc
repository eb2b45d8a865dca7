// etcd_test.cc: what is etcd's own: its members, its revisions, alarms, users and TLS.
#include "datastore/etcd/etcd_log.h"

#include <doctest/doctest.h>

#include "backends.h"
#include "base/protobuf_wire.h"
#include "cutting_proxy.h"
#include "datastore/etcd/connection.h"
#include "datastore/etcd/members.h"
#include "etcd_server.h"
#include "runner.h"

namespace kedge::datastore {
namespace {

using namespace std::chrono_literals;

class database final : public test_database {
 public:
  explicit database(std::string endpoint) : endpoint_(std::move(endpoint)) {}
  std::unique_ptr<log> make() override {
    auto s = etcd::parse_endpoint(endpoint_);
    REQUIRE_MESSAGE(s.has_value(), s.error().message);
    s->ca_file = ca_file;
    s->certificate_file = certificate_file;
    s->key_file = key_file;
    return make_etcd_log({.cluster = *s, .start_wait = start_wait});
  }
  bool shared() const override { return true; }

  std::string ca_file, certificate_file, key_file;
  std::chrono::milliseconds start_wait = patience;

 private:
  std::string endpoint_;
};

batch one(operation op) {
  return std::make_shared<const std::vector<operation>>(std::vector<operation>{std::move(op)});
}

std::unique_ptr<etcd::connection> connect(runner& r, const std::string& endpoint) {
  // It may be coming up.
  for (auto until = r.in(patience);;) {
    auto made = r.loop.run_until(etcd::any_member(*etcd::parse_endpoint(endpoint), until));
    if (made) return std::move(*made);
    REQUIRE_MESSAGE(monotonic_clock::now() < until, made.error().message);
    r.loop.run_until([]() -> task<void> { co_await reactor::sleep_for(20ms); }());
  }
}

// As the store: somebody always follows.
struct follower {
  explicit follower(server& s) {
    tasks.spawn([](server& of) -> task<void> {
      for (;;) {
        if (!co_await of.follow(reactor::loop::current().now() + patience)) co_await reactor::sleep_for(50ms);
      }
    }(s));
  }
  reactor::scope tasks;
};

}  // namespace

TEST_CASE("etcd: changes that share a revision come together") {
  etcd_server own;
  database db(own.endpoint());
  runner r;
  server s(db);
  r.must(s.start());
  auto put = [](std::string_view key) {
    return wire::writer().message(2, wire::writer().text(1, key).text(2, "v").take()).take();
  };
  auto other = connect(r, own.endpoint());
  auto both = wire::writer().message(2, put("/registry/x")).message(2, put("/registry/y")).take();
  r.must(other->ask(etcd::method::txn, both));
  auto page = r.must(s.raw().tail(2, r.in(patience)));
  REQUIRE(page.entries.size() == 2);
  CHECK(page.at == 3);
  CHECK(page.entries[0].at == 3);
  CHECK(page.entries[1].at == 3);
  // And keys of others are nobody's business here.
  r.must(other->ask(etcd::method::txn, wire::writer().message(2, put("/theirs")).take()));
  auto done = r.must(s.raw().append(one(create("/registry/z", "v"))));
  CHECK(done.outcomes[0].at == 5);
  server fresh(db);
  r.must(fresh.start());
  CHECK(fresh.applied() == 5);
  CHECK(fresh.heads().size() == 4);
  r.end(fresh);
  r.end(s);
}

TEST_CASE("etcd: what a lease takes with it is gone for everybody, and its time is known") {
  etcd_server own;
  database db(own.endpoint());
  runner r;
  server s(db);
  r.must(s.start());
  r.must(s.write({create("/registry/a", "v", 3600), create("/registry/b", "v", 3600), create("/registry/c", "v")}));
  auto other = connect(r, own.endpoint());
  auto found = r.must(other->range({.key = "/registry/a"})).found.at(0);
  CHECK(etcd::seconds_of_lease(found.lease) == 3600);
  CHECK(r.must(other->range({.key = "/registry/b"})).found.at(0).lease == found.lease);
  CHECK(r.must(other->range({.key = "/registry/c"})).found.at(0).lease == 0);
  r.must(other->ask("/etcdserverpb.Lease/LeaseRevoke", wire::writer().number(1, found.lease).take()));
  auto newest = r.must(s.raw().current());
  r.must(s.catch_up(newest, r.in(patience)));
  CHECK(s.applied() == newest);
  r.end(s);
  server fresh(db);
  r.must(fresh.start());
  CHECK(fresh.heads().size() == 2);
  r.end(fresh);
}

TEST_CASE("etcd: a write whose answer is lost is found again, or never comes") {
  etcd_server own;
  cutting_proxy proxy(own.port());
  database db(fmt::format("http://127.0.0.1:{}", proxy.port()));
  runner r;
  server s(db);
  r.must(s.start());
  auto direct = connect(r, own.endpoint());
  auto is_there = [&](const std::string& name) { return !r.must(direct->range({.key = name})).found.empty(); };
  for (int i = 0; i < 20; ++i) {
    auto name = fmt::format("/registry/{}", i);
    // Now and then everything is swallowed for longer than a write waits, and comes late.
    bool still = i % 7 == 3;
    if (still)
      proxy.stand_still(true);
    else
      proxy.lose_next_answer();
    reactor::scope sending;
    std::optional<result<std::vector<outcome>>> done;
    sending.spawn([](server& to, std::string key, std::optional<result<std::vector<outcome>>>& out) -> task<void> {
      out = co_await to.write({create(std::move(key), "v")});
    }(s, name, done));
    if (still) {
      (void)r.until([&] { return done.has_value(); }, 2500ms);
      proxy.stand_still(false);
    }
    REQUIRE(r.until([&] { return done.has_value(); }));
    CHECK(done->has_value() == is_there(name));
    if (!*done) CHECK(done->error().code == errc::unavailable);
  }
  r.must(s.write({create("/registry/last", "v")}));
  r.end(s);
}

TEST_CASE("etcd: one that swallows everything counts as away within two seconds, and is back at once") {
  etcd_server own;
  cutting_proxy proxy(own.port());
  database db(fmt::format("http://127.0.0.1:{}", proxy.port()));
  runner r;
  server s(db);
  r.must(s.start());
  auto& log = s.raw();
  CHECK(!r.until([&] { return !log.healthy().has_value(); }, 1s));
  proxy.stand_still(true);
  auto before = monotonic_clock::now();
  REQUIRE(r.until([&] { return !log.healthy().has_value(); }));
  auto noticed = monotonic_clock::now() - before;
  CHECK(noticed < busy * 2500ms);
  auto asked = r.loop.run_until(log.current());
  REQUIRE(!asked.has_value());
  CHECK(asked.error().code == errc::unavailable);
  CHECK(monotonic_clock::now() - before - noticed < busy * 2s);
  proxy.stand_still(false);
  REQUIRE(r.until([&] { return log.healthy().has_value(); }));
  CHECK(r.must(log.current()) == 2);
  r.end(s);
}

TEST_CASE("etcd: three members, of which any one may go") {
  etcd_server own({.members = 3});
  database db(own.endpoint());
  runner r;
  server s(db), t(db);
  r.must(s.start());
  r.must(t.start());
  follower follows(t);
  int n = 0;
  auto write = [&] {
    // Again, as clients do: what is refused has not landed.
    for (;;) {
      auto done = r.loop.run_until(s.write({create(fmt::format("/registry/{}", n), "v")}));
      if (done) break;
      CHECK((done.error().code == errc::unavailable || done.error().code == errc::conflict));
      r.loop.run_until([]() -> task<void> { co_await reactor::sleep_for(20ms); }());
    }
    ++n;
  };
  write();
  for (int member = 0; member < 3; ++member)
    for (int how : {SIGKILL, SIGSTOP}) {
      CAPTURE(member);
      CAPTURE(how);
      auto before = monotonic_clock::now();
      if (how == SIGSTOP)
        ::kill(own.pid(member), SIGSTOP);
      else
        own.stop(member, how);
      write();
      MESSAGE("written " << std::chrono::duration<double, std::milli>(monotonic_clock::now() - before).count()
                         << " ms after member " << member << (how == SIGSTOP ? " was frozen" : " was killed"));
      if (how == SIGSTOP)
        ::kill(own.pid(member), SIGCONT);
      else
        own.start(member);
      write();
      REQUIRE(r.until([&] { return t.applied() == s.applied(); }));
    }
  // Without a majority nothing is written, nor read as if it were the newest.
  own.stop(0, SIGKILL);
  own.stop(1, SIGKILL);
  REQUIRE(r.until([&] { return !s.raw().healthy().has_value(); }));
  auto refused = r.loop.run_until(s.raw().append(one(create("/registry/refused", "v"))));
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == errc::unavailable);
  CHECK(!r.loop.run_until(s.raw().current()).has_value());
  own.start(0);
  REQUIRE(r.until([&] { return s.raw().healthy().has_value(); }));
  write();
  REQUIRE(r.until([&] { return t.applied() == s.applied(); }));
  CHECK(t.heads().size() == static_cast<std::size_t>(n) + 1);
  for (int i = 0; i < n; ++i) CHECK(t.heads().contains(fmt::format("/registry/{}", i)));
  follows.tasks.cancel();
  r.end(s);
  r.end(t);
}

TEST_CASE("etcd: who knows one member goes on with the others when that one goes") {
  etcd_server own({.members = 3});
  runner r;
  auto log =
      make_etcd_log({.cluster = *etcd::parse_endpoint(own.url(0)), .learn_members = true, .start_wait = patience});
  r.must(log->open());
  r.must(log->load(0));
  r.must(log->begin());
  own.stop(0, SIGKILL);
  REQUIRE(r.until([&] { return !log->healthy().has_value(); }));
  REQUIRE(r.until([&] { return log->healthy().has_value(); }));
  CHECK(r.must(log->current()) >= 2);
  r.loop.run_until(log->close());
}

TEST_CASE("etcd: members are added, moved and removed, and the last one is kept") {
  etcd_server own;
  runner r;
  auto c = connect(r, own.endpoint());
  auto first = r.must(etcd::list_members(*c)).at(0);
  CHECK(first.name == "m0");
  auto moved = fmt::format("http://127.0.0.2:{}", free_port());
  r.must(etcd::move_member(*c, first.id, moved));
  CHECK(r.must(etcd::list_members(*c)).at(0).peer_urls == std::vector<std::string>{moved});
  // One that never starts: nobody else can join until it is removed.
  auto learner = [&] { return etcd::add_learner(*c, fmt::format("http://127.0.0.1:{}", free_port())); };
  auto all = r.must(learner());
  REQUIRE(all.size() == 2);
  auto& added = all[0].learner ? all[0] : all[1];
  CHECK(added.name.empty());
  CHECK(!r.loop.run_until(learner()).has_value());
  r.must(etcd::remove_member(*c, added.id));
  r.must(etcd::remove_member(*c, added.id));  // is gone already
  CHECK(r.must(etcd::list_members(*c)).size() == 1);
  auto refused = r.loop.run_until(etcd::remove_member(*c, first.id));
  REQUIRE(!refused.has_value());
  CHECK(r.must(learner()).size() == 2);
  // It is asked as one that may have no majority.
  auto status = r.must(etcd::connection::status_of(*etcd::parse_endpoint(own.endpoint()), 0, nullptr));
  CHECK(status.from.member == first.id);
  CHECK(status.applied > 0);
  // Of two changes at once Raft drops one, and etcd says nothing about it: no question waits for ever.
  const auto asked = r.loop.now();
  ::kill(own.pid(0), SIGSTOP);
  auto unanswered = r.loop.run_until(reactor::with_deadline(etcd::list_members(*c), r.loop.now() + patience));
  ::kill(own.pid(0), SIGCONT);
  REQUIRE(!unanswered.has_value());
  CHECK(unanswered.error().code == errc::timeout);
  CHECK(r.loop.now() - asked < patience);
}

TEST_CASE("etcd: one that was set back, or is another, is noticed, and nothing is served from it") {
  for (bool another : {false, true}) {
    CAPTURE(another);
    etcd_server own;
    database db(own.endpoint());
    runner r;
    server s(db);
    r.must(s.start());
    r.must(s.write({create("/registry/early", "v")}));
    own.stop(0);
    auto kept = own.data() + ".kept";
    std::filesystem::copy(own.data(), kept, std::filesystem::copy_options::recursive);
    own.start(0);
    for (int i = 0; i < 4; ++i) {
      auto done = r.loop.run_until(s.write({create(fmt::format("/registry/{}", i), "v")}));
      if (!done) --i;  // it is just coming up
    }
    own.stop(0);
    std::filesystem::remove_all(own.data());
    if (!another) std::filesystem::rename(kept, own.data());
    own.start(0);
    REQUIRE(r.until([&] {
      auto h = s.raw().healthy();
      return !h && h.error().code == errc::corrupt;
    }));
    CHECK(s.raw().healthy().error().message.find("its newest revision is") != std::string::npos);
    auto refused = r.loop.run_until(s.raw().append(one(create("/registry/new", "v"))));
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == errc::corrupt);
    r.end(s);
  }
}

TEST_CASE("etcd: a database that is full says so, and is read on") {
  etcd_server own({.more = {"--quota-backend-bytes", "8000000"}});
  database db(own.endpoint());
  runner r;
  server s(db);
  r.must(s.start());
  result<std::vector<outcome>> done;
  int written = 0;
  for (; written < 100; ++written) {
    done = r.loop.run_until(s.write({create(fmt::format("/registry/{}", written), std::string(1'000'000, 'x'))}));
    if (!done) break;
  }
  REQUIRE(!done.has_value());
  CHECK((done.error().code == errc::exhausted || done.error().code == errc::unavailable));
  auto health = s.raw().healthy();
  REQUIRE(!health.has_value());
  CHECK(health.error().code == errc::exhausted);
  CHECK(health.error().message.find("NOSPACE") != std::string::npos);
  CHECK(r.must(s.raw().current()) == s.applied());
  server fresh(db);
  r.must(fresh.start());
  CHECK(fresh.heads().size() == static_cast<std::size_t>(written) + 1);
  r.end(fresh);
  // The alarm is taken away by people, with room made or given.
  auto other = connect(r, own.endpoint());
  r.must(other->ask(etcd::method::compact, etcd::encode_compaction(s.applied() - 1), false));
  r.must(other->ask("/etcdserverpb.Maintenance/Alarm",
                    wire::writer().number(1, 2).number(2, other->at().member).number(3, 1).take(), false));
  REQUIRE(r.until([&] { return s.raw().healthy().has_value(); }));
  r.end(s);
}

TEST_CASE("etcd: a value that it doesn't take is refused alone") {
  etcd_server own({.more = {"--max-request-bytes", "1572864"}});
  database db(own.endpoint());
  runner r;
  server s(db);
  r.must(s.start());
  // By etcd itself, and by gRPC, which doesn't even give it the second.
  for (std::size_t bytes : {2'000'000, 3'000'000}) {
    CAPTURE(bytes);
    auto in = fmt::format("/registry/{}/", bytes);
    auto ops = std::make_shared<const std::vector<operation>>(std::vector<operation>{
        create(in + "a", "v"), create(in + "large", std::string(bytes, 'x')), create(in + "b", "v")});
    auto done = r.must(s.raw().append(ops));
    CHECK(done.outcomes[0].what == outcome::status::committed);
    CHECK(done.outcomes[1].what == outcome::status::refused);
    CHECK(done.outcomes[2].what == outcome::status::committed);
    REQUIRE(done.refused.has_value());
    CHECK(done.refused->code == errc::too_large);
    CHECK(s.raw().healthy().has_value());
  }
  r.end(s);
}

TEST_CASE("etcd: users, passwords, TLS with client certificates") {
  char name[] = "/tmp/kedge-etcd-tls-XXXXXX";
  std::string folder = ::mkdtemp(name);
  struct remover {
    std::string& f;
    ~remover() { std::filesystem::remove_all(f); }
  } guard{folder};
  auto made = ::system(
      fmt::format(
          "cd {} && exec > out 2>&1; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
          "-days 2 -subj /CN=ca -keyout ca.key -out ca.pem && for n in server client; do openssl req -newkey ec "
          "-pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$n -keyout $n.key -out $n.csr && "
          "printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext && "
          "openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $n.pem "
          "|| exit 1; done",
          folder)
          .c_str());
  REQUIRE(made == 0);
  etcd_server secure({.tls_folder = folder}), open;
  {
    runner r;
    auto c = connect(r, open.endpoint());
    auto auth = [&](const char* method, std::string message) {
      r.must(c->ask((std::string("/etcdserverpb.Auth/") + method).c_str(), std::move(message), false));
    };
    for (auto user : {"root", "weak"}) auth("UserAdd", wire::writer().text(1, user).text(2, "p@ss").take());
    auth("RoleAdd", wire::writer().text(1, "root").take());
    auth("UserGrantRole", wire::writer().text(1, "root").text(2, "root").take());
    auth("AuthEnable", {});
  }
  struct row {
    std::string endpoint;
    bool trusted, certificate;
    errc refused;  // internal: it works
    const char* says;
  };
  auto with = [&](std::string_view user) { return fmt::format("http://{}@127.0.0.1:{}", user, open.port()); };
  const row table[] = {
      {secure.endpoint(), true, true, errc::internal, ""},
      {secure.endpoint(), false, true, errc::forbidden, "certificate"},
      {secure.endpoint(), true, false, errc::unavailable, ""},
      {with("root:p%40ss"), false, false, errc::internal, ""},
      {with("root:p%40s"), false, false, errc::forbidden, "authentication failed"},
      {with("weak:p%40ss"), false, false, errc::forbidden, "permission denied"},
      {open.endpoint(), false, false, errc::forbidden, "user name is empty"},
  };
  for (auto& t : table) {
    CAPTURE(t.endpoint);
    database db(t.endpoint);
    if (t.trusted) db.ca_file = folder + "/ca.pem";
    if (t.certificate) {
      db.certificate_file = folder + "/client.pem";
      db.key_file = folder + "/client.key";
    }
    db.start_wait = 3s;
    if (t.refused == errc::internal) db.start_wait = patience;
    runner r;
    server s(db), watcher(db);
    auto up = r.loop.run_until(s.start());
    if (t.refused != errc::internal) {
      REQUIRE(!up.has_value());
      CHECK_MESSAGE(up.error().code == t.refused, up.error().message);
      CHECK_MESSAGE(up.error().message.find(t.says) != std::string::npos, up.error().message);
      CHECK(up.error().message.find("p@ss") == std::string::npos);
      r.end(s);
      continue;
    }
    REQUIRE_MESSAGE(up.has_value(), up.error().message);
    r.must(watcher.start());
    auto wrote = r.must(s.write({create(fmt::format("/registry/{}", s.applied()), std::string(100'000, 'v'))}));
    r.must(watcher.catch_up(wrote[0].at, r.in(patience)));
    r.end(s);
    r.end(watcher);
  }
}

}  // namespace kedge::datastore
