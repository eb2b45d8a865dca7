// Volumes on the nodes' disks as they come and go: two leaders at a time, which stop between any two writes, and nodes
// that fail.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "control_world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {
const api::resource_id claims{"", "v1", "persistentvolumeclaims"};
const api::resource_id volumes{"", "v1", "persistentvolumes"};
}  // namespace

TEST_CASE("local-path-provisioner: each claim has a volume with a folder, and no folder outlives its volume") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    std::set<std::string> folders;
    unsigned asked = 0;
    control_options o{.servers = 2, .controllers = {"local-path-provisioner", "persistentvolume-binder"}};
    o.settings.local_storage.post_to_node = [&](std::string, std::string path,
                                                std::string body) -> task<result<api::raw_answer>> {
      if (++asked % 3 == 0) co_return api::raw_answer{500, "no space"};
      if (path.ends_with("/make"))
        folders.insert(body);
      else
        folders.erase(body);
      co_return api::raw_answer{200, "ok"};
    };
    control_world c(seed, o);
    c.crash_between_writes(0.03);
    c.create({"", "v1", "nodes"}, yaml("{kind: Node, apiVersion: v1, metadata: {name: n1}}"));
    c.create({"storage.k8s.io", "v1", "storageclasses"},
             yaml("{kind: StorageClass, apiVersion: storage.k8s.io/v1, metadata: {name: local-path}, provisioner: "
                  "rancher.io/local-path, volumeBindingMode: WaitForFirstConsumer, reclaimPolicy: Delete}"));
    for (int i = 0; i < 5; ++i)
      c.create(claims,
               yaml(fmt::format("{{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {{name: c{}, namespace: "
                                "default, annotations: {{volume.kubernetes.io/selected-node: n1}}}}, spec: "
                                "{{accessModes: [ReadWriteOnce], storageClassName: local-path, resources: {{requests: "
                                "{{storage: 1Gi}}}}}}}}",
                                i)));
    auto bound = [&] {
      std::size_t n = 0;
      for (auto& [_, claim] : c.all("/registry/persistentvolumeclaims/default/"))
        n += claim["status"]["phase"].as_string() == "Bound";
      return n;
    };
    CHECK(c.until([&] { return bound() == 5; }));
    CHECK(folders.size() == 5);
    CHECK(c.count("/registry/persistentvolumes/") == 5);
    for (int i = 0; i < 3; ++i) {
      auto name = fmt::format("c{}", i);
      c.change(claims, "default", name, [](json::value& o2) { o2.member("metadata").erase("finalizers"); });
      c.remove(claims, "default", name);
    }
    for (auto& [_, v] : c.all("/registry/persistentvolumes/"))
      c.change(volumes, "", std::string(v["metadata"]["name"].as_string()),
               [](json::value& o2) { o2.member("metadata").erase("finalizers"); });
    CHECK(c.until([&] { return c.count("/registry/persistentvolumes/") == 2; }));
    CHECK(folders.size() == 2);
  }
}
