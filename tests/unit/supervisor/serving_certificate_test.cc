#include "supervisor/serving_certificate.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "base/random.h"
#include "base/strings.h"
#include "bench.h"
#include "crypto/files.h"
#include "json/parse.h"

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
  CHECK(s.renew(now + std::chrono::days(200), system_random()).value() == false);
  const auto before = s.chain_pem();
  CHECK(s.renew(now + std::chrono::days(300), system_random()).value() == true);
  CHECK(s.chain_pem() != before);

  const auto other = new_authority(now);
  CHECK(open_in(b, other, {"localhost"}, now).chain_pem().find(other.signer().pem()) != std::string::npos);
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
