#include "supervisor/serving_certificate.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <semaphore>

#include "api/local_objects.h"
#include "base/random.h"
#include "base/strings.h"
#include "bench.h"
#include "crypto/files.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/offload.h"
#include "store/open.h"
#include "supervisor/credentials.h"
#include "supervisor/serving_keeper.h"
#include "support/no_admission.h"

using namespace kedge;
using namespace kedge::supervisor;
using names = std::vector<std::string>;

namespace {

crypto::authority new_authority(wall_time now) {
  auto ca = crypto::authority::create("k3s-server-ca", now);
  REQUIRE(ca);
  return *std::move(ca);
}

serving_certificate open_in(const bench& b, const crypto::authority& ca, names wanted, wall_time now) {
  auto s = serving_certificate::open(b.path, ca, std::move(wanted), now, system_random());
  if (!s) FAIL(s.error().message);
  return *std::move(s);
}

crypto::certificate leaf_of(const serving_certificate& s) {
  auto chain = crypto::parse_bundle(s.chain_pem());
  REQUIRE(chain);
  return chain->front();
}

}  // namespace

TEST_CASE("the annotation of a name is K3s's") {
  CHECK(name_annotation("10.43.0.1") == "listener.cattle.io/cn-10.43.0.1");
  CHECK(name_annotation("kubernetes.default.svc") == "listener.cattle.io/cn-kubernetes.default.svc");
  const auto v6 = name_annotation("::1");
  CHECK(v6.starts_with("listener.cattle.io/cn-__1-"));
  CHECK(v6.size() == std::string("listener.cattle.io/cn-__1-").size() + 6);
  const auto longest = name_annotation(std::string(60, 'a') + ".example.org");
  CHECK(longest.size() == 56 + 7);
  CHECK(longest != name_annotation(std::string(60, 'a') + ".example.com"));
}

TEST_CASE("the serving certificate survives a restart, grows, and keeps its key") {
  const bench b;
  const auto now = system_wall_time();
  const auto ca = new_authority(now);
  auto first = open_in(b, ca, {"localhost", "127.0.0.1"}, now);
  CHECK(first.covers("127.0.0.1"));
  CHECK(!first.covers("10.0.0.7"));
  CHECK(leaf_of(first).subject().user == "k3s");

  const auto again = open_in(b, ca, {"localhost"}, now);  // fewer names than it has: it keeps them
  CHECK(again.chain_pem() == first.chain_pem());
  CHECK(again.covers("127.0.0.1"));

  CHECK(first.grow({"localhost"}, now, system_random()).value() == false);
  CHECK(first.grow({"10.0.0.7", "edge.example.org"}, now, system_random()).value() == true);
  const auto leaf = leaf_of(first);
  const auto addresses = leaf.addresses(), dns = leaf.dns_names();
  CHECK(std::find(addresses.begin(), addresses.end(), "10.0.0.7") != addresses.end());
  CHECK(std::find(dns.begin(), dns.end(), "edge.example.org") != dns.end());
  CHECK(first.key_pem() == again.key_pem());
  CHECK(open_in(b, ca, {}, now).chain_pem() == first.chain_pem());
}

TEST_CASE("the serving certificate is signed anew before it ends, and when its authority changed") {
  const bench b;
  const auto now = system_wall_time();
  const auto ca = new_authority(now);
  auto s = open_in(b, ca, {"localhost"}, now);
  using merged = serving_certificate::merged;
  CHECK(s.merge(s.to_secret(), now + std::chrono::days(200), system_random()).value() == merged::same);
  const auto before = s.chain_pem();
  CHECK(s.merge(s.to_secret(), now + std::chrono::days(300), system_random()).value() == merged::grown);
  CHECK(s.chain_pem() != before);

  const auto other = new_authority(now);
  CHECK(open_in(b, other, {"localhost"}, now).chain_pem().find(other.signer().pem()) != std::string::npos);
}

TEST_CASE("what isn't valid now is signed anew with all its names, wherever it comes from") {
  using merged = serving_certificate::merged;
  auto& random = system_random();
  const auto now = system_wall_time();
  const auto ca = new_authority(now);
  // What a server made whose certificates began at its own, wrong time: another begin under the same authority's key.
  auto fast = crypto::authority::create("k3s-server-ca", ca.key(), now + std::chrono::days(2));
  auto slow = crypto::authority::create("k3s-server-ca", ca.key(), now - std::chrono::days(800));
  REQUIRE((fast && slow));
  const bench f, o, s;
  const auto early = open_in(f, *fast, {"fast.example", "10.0.0.9"}, now + std::chrono::days(2)).to_secret();
  const auto late = open_in(o, *slow, {"slow.example"}, now - std::chrono::days(400)).to_secret();
  for (auto& theirs : {early, late}) {
    const bench b;
    auto mine = open_in(b, ca, {"one.example"}, now);
    CHECK(mine.merge(theirs, now, random).value() == merged::grown);
    const auto leaf = leaf_of(mine);
    CHECK(!crypto::reason_invalid(leaf, now));
    CHECK(leaf.not_before() == ca.signer().not_before());
    for (auto& name : {"one.example", "fast.example", "slow.example"})
      CHECK(mine.covers(name) ==
            (std::string_view(name) == "one.example" || json::write(theirs).find(name) != std::string::npos));
    CHECK(mine.key_pem() == std::string(*unbase64(theirs["data"]["tls.key"].as_string())));
    CHECK(mine.merge(mine.to_secret(), now, random).value() == merged::same);
    // Also from this server's own disk.
    REQUIRE(crypto::write_file(b.path + "/dynamic-cert.json", json::write(theirs)));
    const auto again = open_in(b, ca, {"one.example"}, now);
    CHECK(!crypto::reason_invalid(leaf_of(again), now));
    CHECK(again.names().size() == mine.names().size());
  }
  // A person's own is not changed, and not shown either while it isn't valid.
  auto persons = early;
  persons.member("metadata").member("annotations").set("listener.cattle.io/static", "true");
  auto mine = open_in(s, ca, {"one.example"}, now);
  const auto before = mine.chain_pem();
  CHECK(mine.merge(persons, now, random).value() == merged::same);
  CHECK(mine.chain_pem() == before);
  CHECK(mine.merge(persons, now + std::chrono::days(3), random).value() == merged::adopted);
  CHECK(mine.merge(persons, now + std::chrono::days(800), random).value() == merged::same);
  CHECK(mine.chain_pem() != before);
  CHECK(!crypto::reason_invalid(leaf_of(mine), now + std::chrono::days(800)));
}

TEST_CASE("two servers whose clocks differ settle on one certificate") {
  using merged = serving_certificate::merged;
  auto& random = system_random();
  const auto now = system_wall_time();
  const auto ca = new_authority(now - std::chrono::days(100));
  for (auto off : {-std::chrono::days(3650), -std::chrono::days(300), -std::chrono::days(1), std::chrono::days(1),
                   std::chrono::days(300), std::chrono::days(3000)}) {
    CAPTURE(off.count());
    const bench b, c;
    auto one = open_in(b, ca, {"one.example"}, now), two = open_in(c, ca, {"two.example"}, now + off);
    json::value secret;
    int writes = 0;
    for (bool quiet = false; !quiet && writes < 10;) {
      quiet = true;
      for (auto* server : {&one, &two})
        if (server->merge(secret, server == &one ? now : now + off, random).value() == merged::grown) {
          secret = server->to_secret();
          ++writes;
          quiet = false;
        }
    }
    CHECK(writes <= 4);
    CHECK(one.chain_pem() == two.chain_pem());
    CHECK(!crypto::reason_invalid(leaf_of(one), now));
    CHECK((one.covers("two.example") && two.covers("one.example")));
  }
}

TEST_CASE("servers become one through the Secret: one key, everybody's names") {
  const bench b, c;
  const auto now = system_wall_time();
  const auto ca = new_authority(now);
  using merged = serving_certificate::merged;
  auto& random = system_random();
  auto one = open_in(b, ca, {"one.example", "10.0.0.1"}, now), two = open_in(c, ca, {"two.example", "10.0.0.2"}, now);
  CHECK(one.key_pem() != two.key_pem());
  CHECK(one.merge(json::value(), now, random).value() == merged::grown);  // there is no Secret yet
  auto secret = one.to_secret();
  CHECK(one.merge(secret, now, random).value() == merged::same);

  CHECK(two.merge(secret, now, random).value() == merged::grown);  // it has names of its own to add
  CHECK(two.key_pem() == one.key_pem());
  CHECK(two.names() == std::set<std::string>{"one.example", "10.0.0.1", "two.example", "10.0.0.2"});
  secret = two.to_secret();
  CHECK(one.merge(secret, now, random).value() == merged::adopted);
  CHECK(one.chain_pem() == two.chain_pem());
  CHECK(open_in(b, ca, {}, now).chain_pem() == two.chain_pem());  // kept on disk

  // A key that was asked for anew replaces everybody's; a Secret of another cluster, or nonsense, counts for nothing.
  REQUIRE(crypto::write_file(b.path + "/dynamic-cert-regenerate", ""));
  auto forced = open_in(b, ca, {"one.example"}, now);
  CHECK(forced.merge(secret, now, random).value() == merged::grown);
  CHECK(forced.key_pem() != two.key_pem());
  CHECK(two.merge(forced.to_secret(), now, random).value() == merged::adopted);
  const bench d;
  const auto before = two.chain_pem();
  CHECK(two.merge(open_in(d, new_authority(now), {"x"}, now).to_secret(), now, random).value() == merged::grown);
  CHECK(two.merge(json::object{{"data", json::object{{"tls.crt", "!"}}}}, now, random).value() == merged::grown);
  auto mixed = two.to_secret();
  mixed.member("data").set("tls.key", secret["data"]["tls.key"]);  // not this certificate's
  CHECK(two.merge(mixed, now, random).value() == merged::grown);
  CHECK(two.chain_pem() == before);

  // A person's own certificate is taken as it is.
  const bench e;
  auto own = open_in(e, ca, {"mine.example"}, now).to_secret();
  own.member("metadata").member("annotations").set("listener.cattle.io/static", "true");
  CHECK(two.merge(own, now, random).value() == merged::adopted);
  CHECK(two.names() == std::set<std::string>{"mine.example"});
}

TEST_CASE("names by which a client reached the server") {
  struct row {
    const char *authority, *sni, *agent, *method;
    names found;
  };
  for (auto& r : std::vector<row>{{"192.0.2.1:6443", "", "curl/8", "GET", {"10.0.0.1", "192.0.2.1"}},
                                  {"[2001:db8::1]:6443", "", "", "GET", {"10.0.0.1", "2001:db8::1"}},
                                  {"Kube.example:6443", "Kube.example", "", "GET", {"10.0.0.1", "kube.example"}},
                                  {"192.0.2.1", "*.example", "", "GET", {"10.0.0.1", "192.0.2.1"}},
                                  {"192.0.2.1:6443", "", "Mozilla/5.0", "GET", {}},
                                  {"192.0.2.1:10250", "", "", "CONNECT", {}},
                                  {"", "", "", "GET", {"10.0.0.1"}}}) {
    CAPTURE(r.authority);
    net::http::request q{.method = r.method, .authority = r.authority};
    q.headers.add("User-Agent", r.agent);
    CHECK(names_used(q, {.local = {"10.0.0.1", 6443}, .sni = r.sni}) == r.found);
  }
}

TEST_CASE("only servers' nodes give names") {
  auto node =
      json::parse(R"({"metadata":{"labels":{"node-role.kubernetes.io/control-plane":"true"}},"status":{"addresses":[
    {"type":"InternalIP","address":"10.0.0.2"},{"type":"Hostname","address":"two"},{"type":"ExternalIP","address":"not a name"}]}})");
  REQUIRE(node);
  CHECK(server_node_names(*node) == names{"10.0.0.2", "two"});
  node->member("metadata").set("labels", json::object{{"node-role.kubernetes.io/worker", "true"}});
  CHECK(server_node_names(*node).empty());
}

TEST_CASE("a mark forces a new key, once; a damaged file costs only a new certificate") {
  const bench b;
  const auto now = system_wall_time();
  const auto ca = new_authority(now);
  const auto key = open_in(b, ca, {"localhost"}, now).key_pem();
  REQUIRE(crypto::write_file(b.path + "/dynamic-cert-regenerate", ""));
  const auto forced = open_in(b, ca, {"localhost"}, now);
  CHECK(forced.key_pem() != key);
  CHECK(!std::filesystem::exists(b.path + "/dynamic-cert-regenerate"));
  CHECK(open_in(b, ca, {"localhost"}, now).key_pem() == forced.key_pem());

  for (const char* damage : {"", "{", R"({"data":{"tls.crt":"!","tls.key":7}})"}) {
    REQUIRE(crypto::write_file(b.path + "/dynamic-cert.json", damage));
    CHECK(open_in(b, ca, {"localhost"}, now).covers("localhost"));
  }
}

TEST_CASE("the file is a Secret that K3s reads") {
  const bench b;
  const auto now = system_wall_time();
  const auto ca = new_authority(now);
  const auto s = open_in(b, ca, {"localhost", "::1"}, now);
  const auto text = crypto::read_file(b.path + "/dynamic-cert.json");
  REQUIRE(text);
  const auto secret = json::parse(*text);
  REQUIRE(secret);
  CHECK((*secret)["type"].as_string() == "kubernetes.io/tls");
  CHECK((*secret)["metadata"]["name"].as_string() == "k3s-serving");
  const auto& annotations = (*secret)["metadata"]["annotations"];
  CHECK(annotations["listener.cattle.io/cn-localhost"].as_string() == "localhost");
  CHECK(annotations[name_annotation("::1")].as_string() == "::1");
  CHECK(annotations["listener.cattle.io/fingerprint"].as_string().starts_with("SHA1="));
  CHECK(unbase64((*secret)["data"]["tls.crt"].as_string()).value() == s.chain_pem());
}

namespace {}  // namespace

// A server that is stopped right after its start: the pool merges the certificate when everything else is gone.
TEST_CASE("the identity lives as long as what the pool still does with it") {
  bench b;
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  datastore::memory_database database{datastore::memory_database::durability::each_commit, true};
  auto identity = credentials::open(b.settings, system_wall_time(), system_random()).value();
  const std::weak_ptr<credentials> lives = identity;
  constexpr int threads = 4;  // of the pool
  static std::counting_semaphore<threads> go{0};
  for (int i = 0; i < threads; ++i) REQUIRE(reactor::offload_post([] { go.acquire(); }));
  loop.run_until([](datastore::memory_database& db, std::shared_ptr<credentials> id) -> task<void> {
    auto opened =
        co_await store::open_store({.log = datastore::make_memory_log(db), .loops = {&reactor::loop::current()}});
    REQUIRE(opened.has_value());
    tests::no_admission rules;
    auto objects = api::make_objects(**opened, rules, {});
    serving_keeper keeper(*id, *objects, [] {});
    reactor::scope parts;
    parts.spawn(keeper.run());
    co_await reactor::sleep_for(std::chrono::milliseconds(1));  // it has begun, and waits for the pool
    parts.cancel();
    co_await (*opened)->close();
  }(database, std::exchange(identity, nullptr)));
  CHECK_FALSE(lives.expired());
  go.release(threads);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!lives.expired() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  CHECK(lives.expired());
}
