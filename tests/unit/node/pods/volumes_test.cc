#include "node/pods/volumes.h"

#include <doctest/doctest.h>

#include "../loop.h"
#include "generous_cluster.h"
#include "make.h"

namespace kedge::node {

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
    issued_credentials issued;
    pod_settings settings;
    auto volumes = co_await gather_volumes(of, {}, {}, settings, cluster, issued);
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
