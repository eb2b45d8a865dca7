#include "supervisor/bootstrap_data.h"

#include <doctest/doctest.h>

#include <map>

#include "base/strings.h"
#include "bench.h"
#include "crypto/certificate.h"
#include "crypto/files.h"
#include "crypto/token.h"
#include "datastore/memory/memory_log.h"
#include "store/open.h"
#include "supervisor/credentials.h"
#include "supervisor/encryption.h"

using namespace kedge;
using namespace kedge::supervisor;
using namespace std::chrono_literals;

namespace {

// A datastore that servers share, and servers over it that only take their identity.
struct shared_datastore {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  datastore::memory_database database{datastore::memory_database::durability::each_commit, true};

  // Errors as text; empty: it has an identity.
  static task<void> start(shared_datastore& d, bench& b, std::string token, std::string& out, int& running) {
    out.clear();
    b.settings.token = std::move(token);
    auto opened = co_await store::open_store({.log = datastore::make_memory_log(d.database), .loops = {&d.loop}});
    REQUIRE(opened.has_value());
    auto done = co_await [](shared_datastore& world, bench& server, store::store& s) -> task<result<void>> {
      bootstrap_data shared(server.settings, s, true);
      KEDGE_CO_CHECK(co_await shared.load());
      KEDGE_CO_TRY(auto identity, credentials::open(server.settings, world.loop.wall_now(), world.loop.random()));
      co_return co_await shared.save(identity->password());
    }(d, b, **opened);
    if (!done) out = done.error().message;
    co_await (*opened)->close();
    --running;
  }
  std::string one(bench& b, std::string token) {
    std::string out;
    int running = 1;
    loop.run_until(start(*this, b, std::move(token), out, running));
    return out;
  }
  // What a record's key says now; nullopt: it is gone.
  std::map<std::string, std::string> records() const {
    std::map<std::string, std::string> out;
    for (auto& [at, e] : database.rows()) {
      if (!e.name.starts_with(crypto::bootstrap_prefix)) continue;
      if (e.kind == datastore::change::remove)
        out.erase(e.name);
      else
        out[e.name] = e.value;
    }
    return out;
  }
};

std::string text(const bench& b, const std::string& name) {
  auto r = crypto::read_file(b.server(name));
  return r ? *r : "(" + r.error().message + ")";
}

}  // namespace

TEST_CASE("servers that start together on an empty datastore have one identity") {
  shared_datastore d;
  bench a, b, c;
  std::string errors[3];
  int running = 3;
  reactor::scope servers;
  bench* all[3] = {&a, &b, &c};
  d.loop.run_until(
      [](shared_datastore& world, reactor::scope& s, bench** benches, std::string* out, int& n) -> task<void> {
        for (int i = 0; i < 3; ++i) s.spawn(shared_datastore::start(world, *benches[i], "secret", out[i], n));
        co_await s.join();
      }(d, servers, all, errors, running));
  for (auto& e : errors) CHECK(e == "");
  REQUIRE(d.records().size() == 1);
  CHECK(d.records().begin()->first == "/bootstrap/2bb80d537b1d");  // of "secret", as K3s has it
  for (auto file :
       {"tls/server-ca.crt", "tls/client-ca.key", "tls/service.key", "cred/passwd", "cred/ipsec.psk", "token"}) {
    CHECK(text(a, file) == text(b, file));
    CHECK(text(a, file) == text(c, file));
  }
}

TEST_CASE("another token, or none, is refused") {
  shared_datastore d;
  bench a, b, c;
  CHECK(d.one(a, "secret") == "");
  for (auto token : {"other", ""}) {
    auto said = d.one(b, token);
    CHECK(said.find("bootstrap data already found and encrypted with different token") == 0);
    CHECK(text(b, "tls/server-ca.crt").front() == '(');  // nothing was made
  }
  CHECK(d.one(c, text(a, "token").substr(0, text(a, "token").find('\n'))) == "");  // the full form of the same
  CHECK(text(a, "tls/server-ca.crt") == text(c, "tls/server-ca.crt"));
}

TEST_CASE("a place that its holder left is taken over") {
  shared_datastore d;
  bench a;
  {
    auto opened =
        d.loop.run_until(store::open_store({.log = datastore::make_memory_log(d.database), .loops = {&d.loop}}));
    REQUIRE(opened.has_value());
    a.settings.token = "secret";
    // Alone nobody is waited for.
    bootstrap_data first(a.settings, **opened, false), again(a.settings, **opened, false);
    CHECK(d.loop.run_until(first.load()).has_value());
    CHECK(d.records().begin()->second == "");
    CHECK(d.loop.run_until(again.load()).has_value());
    CHECK(d.records().begin()->second == "");
    // The first comes back, too late.
    auto late = d.loop.run_until(first.save("secret"));
    REQUIRE(!late);
    CHECK(late.error().code == errc::conflict);
    d.loop.run_until((*opened)->close());
  }
}

TEST_CASE("files that differ: the older is replaced, a newer stops the start") {
  bench b;
  auto dir = b.settings.server_dir();
  REQUIRE(crypto::make_folder(dir + "/tls").has_value());
  auto now = std::chrono::floor<std::chrono::seconds>(system_wall_time());
  REQUIRE(crypto::write_file(dir + "/tls/server-ca.crt", "mine", {.modified = now}).has_value());
  struct row {
    duration newer;
    bool compare, replaced;
  };
  for (auto& r : {row{-1h, true, true}, row{2s, true, true}, row{4s, true, false}, row{4s, false, true}}) {
    CAPTURE(r.newer.count());
    REQUIRE(crypto::write_file(dir + "/tls/server-ca.crt", "mine", {.modified = now + r.newer}).has_value());
    crypto::bootstrap_files record{{"ServerCA", {now, "theirs"}}, {"ServiceKey", {now, "key"}}};
    auto done = write_bootstrap_files(dir, record, r.compare);
    CHECK(done.has_value() == r.replaced);
    CHECK(text(b, "tls/server-ca.crt") == (r.replaced ? "theirs" : "mine"));
    if (!done)
      CHECK(done.error().message.find("newer than datastore and could cause a cluster outage") != std::string::npos);
    if (done) CHECK(read_bootstrap_files(dir)->at("ServerCA").modified == now);
  }
  CHECK(write_bootstrap_files(dir, *read_bootstrap_files(dir), true)->empty());
}

TEST_CASE("a key ring is written as K3s writes it, and read back") {
  std::string secret(44, 'A');
  secret.back() = '=';
  struct row {
    key_ring ring;
    std::string providers;
  };
  key_ring::key one{crypto::cipher::aescbc, "aescbckey", secret},
      two{crypto::cipher::aescbc, "aescbckey-2026-11-21T09:47:43Z", secret},
      box{crypto::cipher::secretbox, "secretboxkey", secret};
  auto k = [&](const key_ring::key& x) { return "{\"name\":\"" + x.name + "\",\"secret\":\"" + secret + "\"}"; };
  for (auto& r :
       {row{{{one}, true}, "[{\"aescbc\":{\"keys\":[" + k(one) + "]}},{\"identity\":{}}]"},
        row{{{two, one}, true}, "[{\"aescbc\":{\"keys\":[" + k(two) + "," + k(one) + "]}},{\"identity\":{}}]"},
        row{{{box, one}, true},
            "[{\"secretbox\":{\"keys\":[" + k(box) + "]}},{\"aescbc\":{\"keys\":[" + k(one) + "]}},{\"identity\":{}}]"},
        row{{{one}, false}, "[{\"identity\":{}},{\"aescbc\":{\"keys\":[" + k(one) + "]}}]"},
        row{{{}, false}, "[{\"identity\":{}}]"}}) {
    auto written = r.ring.write();
    CHECK(written ==
          "{\"kind\":\"EncryptionConfiguration\",\"apiVersion\":\"apiserver.config.k8s.io/"
          "v1\",\"resources\":[{\"resources\":[\"secrets\"],\"providers\":" +
              r.providers + "}]}");
    auto back = key_ring::parse(written);
    REQUIRE(back.has_value());
    CHECK(back->keys == r.ring.keys);
    CHECK(back->enabled == r.ring.enabled);
    CHECK(crypto::encryption_config::parse(written).has_value());
  }
}

TEST_CASE("a rotation of the authorities that stops between two files is whole at the next start") {
  shared_datastore d;
  bench a;
  REQUIRE(d.one(a, "secret") == "");
  const auto now = system_wall_time();
  crypto::bootstrap_files given;
  for (std::string name : {"ServerCA", "ClientCA", "RequestHeaderCA"}) {
    const auto made = crypto::authority::create("new-" + name, now).value();
    given[name] = {now, made.bundle_pem()};
    given[name + "Key"] = {now, made.key().pem()};
  }
  auto opened =
      d.loop.run_until(store::open_store({.log = datastore::make_memory_log(d.database), .loops = {&d.loop}}));
  REQUIRE(opened.has_value());
  bootstrap_data record(a.settings, **opened, true);
  CHECK(!d.loop.run_until(record.rotate_authorities("secret", given, false)));  // nothing is changed
  CHECK(!d.loop.run_until(record.rotate_authorities("other", given, true)));
  const auto before = read_bootstrap_files(a.settings.server_dir()).value();
  REQUIRE(d.loop.run_until(record.rotate_authorities("secret", given, true)));
  d.loop.run_until((*opened)->close());
  const auto plain = crypto::decrypt_bootstrap(d.records().begin()->second, "secret").value();
  const auto after = crypto::parse_bootstrap_files(plain).value();

  for (std::size_t stopped_at = 0; stopped_at <= given.size(); ++stopped_at) {
    CAPTURE(stopped_at);
    auto standing = before;
    std::size_t written = 0;
    for (auto& [name, f] : given)
      if (written++ < stopped_at) standing[name] = after.at(name);
    REQUIRE(write_bootstrap_files(a.settings.server_dir(), standing, false).has_value());
    CHECK(d.one(a, "secret") == "");
    for (auto& [name, f] : after)
      CHECK(read_bootstrap_files(a.settings.server_dir()).value().at(name).content == f.content);
    // What it shows and signs with follows.
    const auto ca = crypto::parse_bundle(text(a, "tls/server-ca.crt")).value();
    CHECK(crypto::parse_bundle(text(a, "tls/serving-kube-apiserver.crt")).value().front().authority_key_id() ==
          ca.front().subject_key_id());
    CHECK(crypto::check_ca_hash(crypto::parse_token(std::string(trim(text(a, "token")))).value(),
                                text(a, "tls/server-ca.crt"), now));
  }
}

TEST_CASE("a server that has not heard of a rotation puts no authority back") {
  shared_datastore d;
  bench a;
  REQUIRE(d.one(a, "secret") == "");
  const auto made = crypto::authority::create("new", system_wall_time()).value();
  auto opened =
      d.loop.run_until(store::open_store({.log = datastore::make_memory_log(d.database), .loops = {&d.loop}}));
  REQUIRE(opened.has_value());
  bootstrap_data record(a.settings, **opened, true);
  REQUIRE(d.loop.run_until(record.rotate_authorities(
      "secret", {{"ServerCA", {{}, made.bundle_pem()}}, {"ServerCAKey", {{}, made.key().pem()}}}, true)));
  const auto rotated = d.records();
  REQUIRE(d.loop.run_until(record.save("secret")));  // its files are the old ones
  CHECK(d.records() == rotated);
  d.loop.run_until((*opened)->close());
}
