#include "node/pods/pod_certificates.h"

#include <doctest/doctest.h>

#include <set>

#include "../loop.h"
#include "base/strings.h"
#include "crypto/key.h"
#include "crypto/pem.h"
#include "crypto/request.h"
#include "generous_cluster.h"
#include "make.h"

namespace kedge::node {

namespace {

json::value issued(std::string chain, std::string renew_at) {
  return json::object{{"conditions", json::array{json::object{{"type", "Issued"}, {"status", "True"}}}},
                      {"certificateChain", std::move(chain)},
                      {"beginRefreshAt", std::move(renew_at)},
                      {"notAfter", "2100-01-02T00:00:00Z"}};
}
json::value refused(const char* type) {
  return json::object{{"conditions", json::array{json::object{{"type", type}, {"reason", "Why"}, {"message", "no"}}}}};
}

// A signer that says what the test lets it.
class signing_cluster final : public generous_cluster {
 public:
  task<result<std::optional<json::value>>> object(std::string path) override {
    auto uid = path.contains("/serviceaccounts/") ? "account-uid" : "node-uid";
    co_return std::optional<json::value>(json::object{{"metadata", json::object{{"uid", uid}}}});
  }
  task<result<json::value>> request_certificate(std::string, json::value request) override {
    proofs.insert(std::string(request["spec"]["stubPKCS10Request"].as_string()));
    if (away) co_return fail(errc::unavailable, "no server");
    requests.push_back(request);
    status = {};
    request.member("metadata").set("name", "req-" + std::to_string(requests.size()));
    co_return request;
  }
  task<result<std::optional<json::value>>> certificate_request(std::string, std::string name) override {
    CHECK(name == "req-" + std::to_string(requests.size()));
    if (removed) co_return std::optional<json::value>();
    co_return std::optional<json::value>(json::object{{"status", status}});
  }
  void tell(const json::value&, std::string, bool warning, std::string reason, std::string message) override {
    CHECK(warning);
    told.push_back(reason + ": " + message);
  }

  std::vector<json::value> requests;
  json::value status;
  bool removed = false, away = false;
  std::set<std::string> proofs;  // that were sent
  std::vector<std::string> told;
};

struct stage {
  signing_cluster cluster;
  pod_certificate state;
  json::value pod = make_pod(R"({"serviceAccountName":"robot","containers":[{"name":"c"}]})");
  json::value source = *json::parse(
      R"({"signerName":"example.com/s","keyType":"ECDSAP256","maxExpirationSeconds":3600,"userAnnotations":{"example.com/a":"b"}})");

  // The key and chain that the pod has now, or why it has none.
  task<std::string> step() {
    auto got = co_await certificate_for(pod, source, "edge-1", cluster, state);
    co_return got ? got->key + got->chain : got.error().message;
  }
  const json::value& last() const { return cluster.requests.back(); }
};

const std::string waits = "credential bundle is not issued yet";
std::string certificate(std::string_view der) { return crypto::write_pem("CERTIFICATE", as_bytes(der)); }

}  // namespace

TEST_CASE("a pod's certificate: asked for once, with a key that only the pod gets") {
  test_loop t;
  t.run([]() -> task<void> {
    stage s;
    CHECK(co_await s.step() == waits);
    CHECK(co_await s.step() == waits);
    REQUIRE(s.cluster.requests.size() == 1);
    auto& spec = s.last()["spec"];
    CHECK(s.last()["metadata"]["ownerReferences"][0]["uid"] == s.pod["metadata"]["uid"]);
    CHECK(spec["podUID"] == s.pod["metadata"]["uid"]);
    CHECK(spec["serviceAccountName"].as_string() == "robot");
    CHECK(spec["serviceAccountUID"].as_string() == "account-uid");
    CHECK(spec["nodeName"].as_string() == "edge-1");
    CHECK(spec["nodeUID"].as_string() == "node-uid");
    CHECK(spec["maxExpirationSeconds"].as_integer() == 3600);
    CHECK(spec["unverifiedUserAnnotations"]["example.com/a"].as_string() == "b");

    s.cluster.status = issued("noise\n" + certificate("leaf") + certificate("middle"), "2100-01-01T00:00:00Z");
    auto got = co_await s.step();
    REQUIRE(got.ends_with(certificate("leaf") + certificate("middle")));
    CHECK(got.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    auto key = crypto::private_key::from_pem(got).value();
    auto proof = unbase64(spec["stubPKCS10Request"].as_string()).value();
    CHECK(key.public_part() == crypto::public_key_of_request(as_bytes(proof)).value());
    CHECK(co_await s.step() == got);
    CHECK(s.cluster.requests.size() == 1);
    CHECK(s.cluster.told.empty());
  }());
}

TEST_CASE("a pod's certificate is renewed when its signer said so, and serves until there is another") {
  test_loop t;
  t.run([]() -> task<void> {
    stage s;
    (void)co_await s.step();
    s.cluster.status = issued(certificate("old"), "2000-01-01T00:00:00Z");
    auto old = co_await s.step();
    CHECK(old.ends_with(certificate("old")));
    CHECK(co_await s.step() == old);
    CHECK(s.cluster.requests.size() == 2);
    CHECK(co_await s.step() == old);
    CHECK(s.cluster.told == std::vector<std::string>{"CertificateOverdueForRefresh: PodCertificate refresh overdue"});
    s.cluster.status = issued(certificate("new"), "2100-01-01T00:00:00Z");
    auto next = co_await s.step();
    CHECK(next.ends_with(certificate("new")));
    CHECK(next.substr(0, 100) != old.substr(0, 100));  // another key
    CHECK(co_await s.step() == next);
    CHECK(s.cluster.requests.size() == 2);
  }());
}

TEST_CASE("a pod's certificate that is refused is refused for good; a request that is gone is made anew") {
  for (auto* type : {"Denied", "Failed"}) {
    CAPTURE(type);
    test_loop t;
    t.run([](std::string type) -> task<void> {
      stage s;
      (void)co_await s.step();
      s.cluster.removed = true;
      CHECK(co_await s.step() == waits);
      CHECK(s.cluster.requests.size() == 2);
      s.cluster.removed = false;
      s.cluster.status = refused(type.c_str());
      auto why = "PodCertificateRequest was permanently " + lower(type) + ": reason=\"Why\" message=\"no\"";
      CHECK(co_await s.step() == why);
      CHECK(co_await s.step() == why);
      CHECK(s.cluster.requests.size() == 2);
      CHECK(s.cluster.told.size() == 1);
      CHECK(s.cluster.told[0].starts_with(type + ": PodCertificateRequest "));
    }(type));
  }
}

TEST_CASE("a pod's certificate: one key, however often it is asked for in vain") {
  test_loop t;
  t.run([]() -> task<void> {
    stage s;
    s.cluster.away = true;
    for (int i = 0; i < 5; ++i) CHECK(co_await s.step() == "while creating PodCertificateRequest: no server");
    s.cluster.away = false;
    s.cluster.removed = true;
    for (int i = 0; i < 5; ++i) CHECK(co_await s.step() == waits);
    CHECK(s.cluster.requests.size() == 5);
    CHECK(s.cluster.proofs.size() == 1);
    s.cluster.removed = false;
    s.cluster.status = issued(certificate("leaf"), "2000-01-01T00:00:00Z");
    auto key = crypto::private_key::from_pem(co_await s.step()).value();
    auto proof = unbase64(*s.cluster.proofs.begin()).value();
    CHECK(key.public_part() == crypto::public_key_of_request(as_bytes(proof)).value());
    // The next certificate has another one.
    (void)co_await s.step();
    CHECK(s.cluster.proofs.size() == 2);
  }());
}

TEST_CASE("a pod's certificate: a kind of key that nobody knows") {
  test_loop t;
  t.run([]() -> task<void> {
    stage s;
    s.source.set("keyType", "DSA");
    CHECK(co_await s.step() == "while generating keypair: unknown key type \"DSA\"");
    CHECK(s.cluster.requests.empty());
  }());
}

}  // namespace kedge::node
