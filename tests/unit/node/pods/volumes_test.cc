#include "node/pods/volumes.h"

#include <doctest/doctest.h>

#include "../loop.h"
#include "make.h"

namespace kedge::node {

namespace {

// Has every ConfigMap and Secret that is asked for.
class generous_cluster final : public pod_cluster {
 public:
  task<result<std::optional<json::value>>> config_map(std::string, std::string) override {
    co_return std::optional(*json::parse(R"({"data":{"k":"v"}})"));
  }
  task<result<std::optional<json::value>>> secret(std::string, std::string) override {
    co_return std::optional(*json::parse(R"({"data":{"k":"dg=="}})"));
  }
  task<result<std::vector<json::value>>> services(std::string) override { co_return std::vector<json::value>(); }
  task<result<json::value>> token(std::string, std::string, json::value) override {
    co_return *json::parse(R"({"token":"t","expirationTimestamp":"2100-01-01T00:00:00Z"})");
  }
  task<result<std::optional<json::value>>> object(std::string) override { co_return std::optional<json::value>(); }
  task<result<json::value>> patch_status(const json::value&, json::value) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<json::value>> patch_claim_status(const json::value&, json::value) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<void>> remove(const json::value&) override { co_return result<void>(); }
  task<result<json::value>> create(json::value) override { co_return fail(errc::unsupported, "none"); }
  void tell(const json::value&, std::string, bool, std::string, std::string) override {}
};

}  // namespace

TEST_CASE("no container writes into what the node writes again and again, whatever its mount says") {
  auto pod = make_pod(
      R"({"serviceAccountName":"a","volumes":[{"name":"map","configMap":{"name":"m"}},{"name":"secret","secret":{"secretName":"s"}},
    {"name":"down","downwardAPI":{"items":[{"path":"name","fieldRef":{"fieldPath":"metadata.name"}}]}},
    {"name":"all","projected":{"sources":[{"serviceAccountToken":{"path":"token"}},{"configMap":{"name":"m"}}]}},{"name":"own","emptyDir":{}},{"name":"fast","emptyDir":{"medium":"Memory"}}],
    "containers":[{"name":"c","volumeMounts":[{"name":"map","mountPath":"/map"},{"name":"secret","mountPath":"/secret","readOnly":false},{"name":"down","mountPath":"/down"},
    {"name":"all","mountPath":"/all"},{"name":"map","mountPath":"/part","subPath":"k"},{"name":"own","mountPath":"/own"},{"name":"fast","mountPath":"/fast"}]}]})");
  test_loop t;
  t.run([](json::value of) -> task<void> {
    generous_cluster cluster;
    issued_tokens tokens;
    pod_settings settings;
    auto volumes = co_await gather_volumes(of, {}, settings, cluster, tokens);
    REQUIRE(volumes.has_value());
    std::vector<subpath_mount> subpaths;
    auto mounts = mounts_of(of, of["spec"]["containers"][0], *volumes, {}, "/pods/u1", subpaths);
    REQUIRE(mounts.has_value());
    std::size_t found = 0;
    for (auto& m : *mounts) {
      CAPTURE(m.container_path);
      const bool own = m.container_path == "/own" || m.container_path == "/fast" || m.container_path == "/etc/hosts";
      CHECK(m.read_only == !own);
      ++found;
    }
    CHECK(found == 8);
  }(pod));
}

}  // namespace kedge::node
