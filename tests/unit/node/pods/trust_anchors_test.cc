#include "node/pods/trust_anchors.h"

#include <doctest/doctest.h>

#include "../loop.h"
#include "crypto/pem.h"
#include "generous_cluster.h"

namespace kedge::node {

namespace {

std::string anchor(std::string_view der) { return crypto::write_pem("CERTIFICATE", as_bytes(der)); }

json::value bundle(std::string text) { return json::object{{"spec", json::object{{"trustBundle", std::move(text)}}}}; }

// Has bundle "one", and two of a signer; remembers what it was asked for.
class trusted_cluster final : public generous_cluster {
 public:
  task<result<std::optional<json::value>>> object(std::string path) override {
    asked.push_back(path);
    if (path.ends_with("/clustertrustbundles/one")) co_return std::optional(bundle(anchor("a")));
    if (path.contains("fieldSelector=spec.signerName%3Dexample.com%2Fca"))
      co_return std::optional<json::value>(
          json::object{{"items", json::array{bundle(anchor("b") + anchor("a")), bundle(anchor("b"))}}});
    if (path.contains("?")) co_return std::optional<json::value>(json::object{{"items", json::array{}}});
    co_return std::optional<json::value>();
  }
  std::vector<std::string> asked;
};

}  // namespace

TEST_CASE("trust anchors: each once, without what stands between them, in an order of their own") {
  auto text = [](const json::array& bundles) { return trust_anchors_of(bundles).value(); };
  CHECK(text({}).empty());
  CHECK(text({bundle("before\n" + anchor("b") + "between\n" + anchor("a")), bundle(anchor("b"))}) ==
        anchor("a") + anchor("b"));
  CHECK(text({bundle(anchor("b")), bundle(anchor("a"))}) == text({bundle(anchor("a")), bundle(anchor("b"))}));
}

TEST_CASE("trust anchors of a source: by name, by signer and labels, and what is missing") {
  struct {
    const char* source;
    std::string gives;
    const char* error;
  } rows[] = {
      {R"({"name":"one","path":"p"})", anchor("a"), ""},
      {R"({"name":"two","path":"p"})", "",
       "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io \"two\" not found"},
      {R"({"name":"two","path":"p","optional":true})", "", ""},
      {R"({"signerName":"example.com/ca","labelSelector":{},"path":"p"})", anchor("a") + anchor("b"), ""},
      {R"({"signerName":"example.com/ca","labelSelector":{"matchLabels":{"a":"b"}},"path":"p"})",
       anchor("a") + anchor("b"), ""},
      // No selector takes none, an empty one all.
      {R"({"signerName":"example.com/ca","path":"p"})", "",
       "combination of signerName and labelSelector matched zero ClusterTrustBundles"},
      {R"({"signerName":"example.com/ca","path":"p","optional":true})", "", ""},
      {R"({"signerName":"example.com/none","labelSelector":{},"path":"p"})", "",
       "combination of signerName and labelSelector matched zero ClusterTrustBundles"},
      {R"({"path":"p"})", "", "ClusterTrustBundle projection requires either name or signerName to be set"},
  };
  for (auto& row : rows) {
    CAPTURE(row.source);
    test_loop t;
    t.run([](json::value source, std::string gives, std::string error) -> task<void> {
      trusted_cluster cluster;
      auto found = co_await trust_anchors_for(source, cluster);
      CHECK((found ? std::string() : found.error().message) == error);
      if (found) CHECK(*found == gives);
      for (auto& path : cluster.asked) {
        CHECK(path.starts_with("/apis/certificates.k8s.io/v1/clustertrustbundles"));
        CHECK(path.contains("labelSelector=a%3Db") == source["labelSelector"]["matchLabels"].is_object());
      }
    }(*json::parse(row.source), row.gives, row.error));
  }
}

}  // namespace kedge::node
