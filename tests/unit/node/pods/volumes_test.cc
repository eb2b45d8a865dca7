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
    auto mounts = mounts_of(of["spec"]["containers"][0], *volumes, {}, "/pods/u1", {}, subpaths);
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

TEST_CASE("where the kernel asks by labels, what is the pod's is labelled as its containers are, and nothing else") {
  using enum pod_volume::content;
  auto of = [](const char* name, pod_volume::content kind, bool read_only = false, const char* source = "{}") {
    pod_volume v;
    v.name = name;
    v.kind = kind;
    v.path = std::string("/volumes/") + name;
    v.read_only = read_only;
    v.to_mount.source = *json::parse(source);
    return v;
  };
  const pod_volumes volumes{of("empty", folder),
                            of("map", files, true),
                            of("local", claim),
                            of("local-ro", claim, true),
                            of("csi", mounted, false, R"({"csi":{"driver":"d"}})"),
                            of("csi-ro", mounted, true, R"({"csi":{"driver":"d"}})"),
                            of("nfs", mounted, false, R"({"nfs":{"server":"s"}})"),
                            of("host", host_path),
                            of("image", image)};
  json::value container(json::object{{"name", "c"}});
  for (auto& v : volumes)
    container.member("volumeMounts").push_back(json::object{{"name", v.name}, {"mountPath", "/" + v.name}});
  auto labelled = [&](bool selinux) {
    std::vector<subpath_mount> subpaths;
    auto mounts = mounts_of(container, volumes, {}, "/pods/u1", {.selinux = selinux}, subpaths);
    REQUIRE(mounts);
    std::string out;
    for (auto& m : *mounts)
      if (m.selinux_relabel) out += m.container_path + " ";
    return out;
  };
  CHECK(labelled(true) == "/empty /map /local /csi /etc/hosts ");
  CHECK(labelled(false).empty());
}

TEST_CASE("a mount is read-only with all that is below it where its runtime can, or says why not") {
  auto told = [](std::string_view mount, bool runtime_can) {
    auto is = is_recursively_read_only(*json::parse(mount), runtime_can);
    return is ? std::string(*is ? "yes" : "no") : is.error().message;
  };
  constexpr std::string_view all = R"({"name":"v","readOnly":true,"recursiveReadOnly":"Enabled"})",
                             if_possible = R"({"name":"v","readOnly":true,"recursiveReadOnly":"IfPossible"})";
  CHECK(told(R"({"name":"v","readOnly":true})", true) == "no");
  CHECK(told(R"({"name":"v","readOnly":true,"recursiveReadOnly":"Disabled"})", true) == "no");
  CHECK(told(all, true) == "yes");
  CHECK(told(if_possible, true) == "yes");
  CHECK(told(if_possible, false) == "no");
  const std::string says = R"(volume "v" requested recursive read-only mode, but it is )";
  CHECK(told(all, false) == says + "not supported by the runtime");
  CHECK(told(R"({"name":"v","recursiveReadOnly":"IfPossible"})", true) == says + "not read-only");
  CHECK(told(R"({"name":"v","readOnly":true,"recursiveReadOnly":"Enabled","mountPropagation":"HostToContainer"})",
             true) == says + R"(not compatible with propagation "HostToContainer")");
}

}  // namespace kedge::node
