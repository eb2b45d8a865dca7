// Volumes on the nodes' disks: where they lie, what they are, and what is refused.
#include "at_work.h"
#include "control/volumes/local_path_config.h"

using namespace kedge;
using namespace kedge::control;

namespace {

// The nodes' port: what was asked of them, and how they answer.
struct nodes_asked {
  std::vector<std::string> asked;
  int code = 200;
  settings as_settings() {
    settings s;
    s.local_storage.default_path = "/data";
    s.local_storage.post_to_node = [this](std::string node, std::string path,
                                          std::string body) -> task<result<api::raw_answer>> {
      asked.push_back(node + " " + path + " " + body);
      co_return api::raw_answer{code, code == 200 ? "ok" : "no"};
    };
    return s;
  }
};

constexpr auto storage_class =
    "{kind: StorageClass, apiVersion: storage.k8s.io/v1, metadata: {name: local-path, annotations: {defaultVolumeType: "
    "local}}, provisioner: rancher.io/local-path, volumeBindingMode: WaitForFirstConsumer, reclaimPolicy: Delete}";
constexpr auto node =
    "{kind: Node, apiVersion: v1, metadata: {name: a, labels: {kubernetes.io/hostname: host-a, zone: z}}}";

std::string claim(std::string_view name, std::string_view spec = "", std::string_view notes = "",
                  std::string_view on = "a") {
  return fmt::format(
      "{{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {{name: {}, namespace: default, annotations: "
      "{{volume.kubernetes.io/storage-provisioner: rancher.io/local-path{}{}}}}}, spec: {{storageClassName: "
      "local-path, "
      "accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}{}}}, status: {{phase: Pending}}}}",
      name, on.empty() ? "" : fmt::format(", volume.kubernetes.io/selected-node: {}", on), notes, spec);
}

}  // namespace

TEST_CASE("local-path-provisioner: a claim gets the volume that K3s's provisioner would make, once") {
  nodes_asked n;
  at_work w("local-path-provisioner", n.as_settings());
  w.put(storage_class);
  w.put(node);
  w.put(claim("waits", "", "", ""));
  CHECK(w.work("default/waits") == "");
  CHECK(n.asked.empty());
  w.put(claim("data"));
  CHECK(w.named() == text{"default/waits", "default/data"});
  CHECK(w.work("default/data") == "");
  CHECK(n.asked == text{R"(a /localVolumes/make {"base":"/data","folder":"pvc-uid-data_default_data"})"});
  auto v = w.get("/registry/persistentvolumes/pvc-uid-data");
  CHECK(json::write(v["metadata"]["annotations"]) ==
        R"({"local.path.provisioner/selected-node":"a","pv.kubernetes.io/provisioned-by":"rancher.io/local-path"})");
  CHECK(v["spec"]["local"]["path"].as_string() == "/data/pvc-uid-data_default_data");
  CHECK(v["spec"]["claimRef"]["uid"].as_string() == "uid-data");
  CHECK(v["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"][0].as_string() ==
        "host-a");
  CHECK(w.work("default/data") == "");
  CHECK(n.asked.size() == 1);
  // A node that isn't Kedge's: its kubelet makes the folder.
  n.code = 404;
  w.put(claim("there"));
  CHECK(w.work("default/there") == "");
  CHECK(w.get("/registry/persistentvolumes/pvc-uid-there")["spec"]["hostPath"]["type"].as_string() ==
        "DirectoryOrCreate");
  // One that fails: no volume.
  n.code = 500;
  w.put(claim("fails"));
  CHECK(w.work("default/fails") == "");
  CHECK(w.get("/registry/persistentvolumes/pvc-uid-fails").is_null());
}

TEST_CASE("local-path-provisioner: a claim that grows has its volume grow, and says so when it has") {
  nodes_asked n;
  at_work w("local-path-provisioner", n.as_settings());
  w.put(storage_class);
  w.put(node);
  w.put(claim("data"));
  CHECK(w.work("default/data") == "");
  auto bound = w.get("/registry/persistentvolumeclaims/default/data");
  bound.member("spec").set("volumeName", "pvc-uid-data");
  bound.member("spec").member("resources").member("requests").set("storage", "3Gi");
  bound.set("status", yaml("{phase: Bound, capacity: {storage: 1Gi}, allocatedResources: {storage: 3Gi}, conditions: "
                           "[{type: Resizing, status: 'True'}]}"));
  w.named();
  w.put(bound);
  CHECK(w.named() == text{"grown:default/data"});
  n.asked.clear();
  CHECK(w.work("grown:default/data") == "");
  CHECK(n.asked.empty());  // a folder has no size of its own
  CHECK(w.get("/registry/persistentvolumes/pvc-uid-data")["spec"]["capacity"]["storage"] == "3Gi");
  auto after = w.get("/registry/persistentvolumeclaims/default/data")["status"];
  CHECK(after["capacity"]["storage"] == "3Gi");
  CHECK(after["conditions"].size() == 0);
  CHECK(after["allocatedResources"]["storage"].is_null());
  w.named();
  w.put(w.get("/registry/persistentvolumeclaims/default/data"));
  CHECK(w.named().empty());
}

TEST_CASE("local-path-provisioner: what is refused, and a node that is gone") {
  nodes_asked n;
  at_work w("local-path-provisioner", n.as_settings());
  w.put(storage_class);
  w.put(node);
  for (auto [name, spec] : {std::pair{"many", ", accessModes: [ReadWriteMany]"},
                            {"block", ", volumeMode: Block"},
                            {"selects", ", selector: {matchLabels: {a: b}}"}}) {
    w.put(claim(name, spec));
    CHECK(w.work(std::string("default/") + name) == "");
  }
  w.put(claim("odd", "", ", volumeType: nfs"));
  CHECK(w.work("default/odd") == "");
  CHECK(n.asked.empty());
  w.put(claim("lost", "", "", "gone"));
  CHECK(w.work("default/lost") == "");
  CHECK(w.get("/registry/persistentvolumeclaims/default/lost")["metadata"]["annotations"]
                                                              ["volume.kubernetes.io/selected-node"]
                                                                  .is_null());
  CHECK(w.keys_under("/registry/persistentvolumes/").empty());
}

TEST_CASE("local-path-provisioner: classes say path, type, affinity and name") {
  nodes_asked n;
  at_work w("local-path-provisioner", n.as_settings());
  w.put(node);
  w.put(
      "{kind: ConfigMap, apiVersion: v1, metadata: {name: local-path-config, namespace: kube-system}, data: "
      "{config.json: "
      "'{\"nodePathMap\":[{\"node\":\"a\",\"paths\":[\"/one\",\"/two/\"]}]}'}}");
  w.put(
      "{kind: StorageClass, apiVersion: storage.k8s.io/v1, metadata: {name: local-path}, provisioner: "
      "rancher.io/local-path, reclaimPolicy: Retain, volumeBindingMode: WaitForFirstConsumer, parameters: {nodePath: "
      "/two, "
      "nodeAffinityKey: zone, pathPattern: '{{ .PVC.Namespace }}/{{ .PVC.Name }}/{{ .PVName }}'}}");
  w.put(claim("data"));
  CHECK(w.work("default/data") == "");
  auto v = w.get("/registry/persistentvolumes/pvc-uid-data");
  CHECK(v["spec"]["hostPath"]["path"].as_string() == "/two/default/data/pvc-uid-data");
  CHECK(v["spec"]["persistentVolumeReclaimPolicy"].as_string() == "Retain");
  CHECK(json::write(v["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"]) ==
        R"([{"key":"zone","operator":"In","values":["z"]}])");
  for (auto* pattern :
       {"{{ .PVC.Name }}", "{{ .PVC.Namespace }}/{{ .PVC.Name }}/../../x", "{{ range .PVC }}", "{{ .PVName"}) {
    n.asked.clear();
    w.put(
        fmt::format("{{kind: StorageClass, apiVersion: storage.k8s.io/v1, metadata: {{name: local-path}}, provisioner: "
                    "rancher.io/local-path, parameters: {{pathPattern: '{}'}}}}",
                    pattern));
    w.put(claim("other"));
    CHECK(w.work("default/other") == "");
    CHECK(n.asked.empty());
  }
}

TEST_CASE("local-path-provisioner: a released volume goes with its folder, and nothing else does") {
  nodes_asked n;
  at_work w("local-path-provisioner", n.as_settings());
  w.put(node);
  auto volume = [&](std::string_view name, std::string_view path, std::string_view policy = "Delete",
                    std::string_view phase = "Released", std::string_view on = "a") {
    w.put(fmt::format(
        "{{kind: PersistentVolume, apiVersion: v1, metadata: {{name: {0}, annotations: "
        "{{pv.kubernetes.io/provisioned-by: rancher.io/local-path, local.path.provisioner/selected-node: {4}}}}}, "
        "spec: {{accessModes: [ReadWriteOnce], capacity: {{storage: 1Gi}}, hostPath: {{path: '{1}'}}, "
        "persistentVolumeReclaimPolicy: {2}, claimRef: {{namespace: default, name: c, uid: u}}}}, status: "
        "{{phase: {3}}}}}",
        name, path, policy, phase, on));
    CHECK(w.work(fmt::format("volume:{}", name)) == "");
    return w.get(fmt::format("/registry/persistentvolumes/{}", name)).is_null();
  };
  CHECK(!volume("kept", "/data/kept_default_c", "Retain"));
  CHECK(!volume("bound", "/data/bound_default_c", "Delete", "Bound"));
  CHECK(!volume("etc", "/etc"));
  CHECK(!volume("home", "/home/user"));
  CHECK(n.asked.empty());
  CHECK(volume("pvc-1", "/old/place/pvc-1_default_c"));
  CHECK(volume("pvc-2", "/data/of/another/name"));
  CHECK(n.asked == text{R"(a /localVolumes/remove {"base":"/old/place","folder":"pvc-1_default_c"})",
                        R"(a /localVolumes/remove {"base":"/data","folder":"of/another/name"})"});
  CHECK(volume("pvc-3", "/data/pvc-3_default_c", "Delete", "Released", "gone"));
  n.code = 500;
  CHECK(!volume("pvc-4", "/data/pvc-4_default_c"));
  n.code = 404;
  CHECK(!volume("pvc-5", "/data/pvc-5_default_c"));
}

TEST_CASE("the configuration of local paths: nodes, classes, a shared file system, and what is wrong") {
  auto read = [](std::string_view text) { return local_path_config::parse(text); };
  auto c = read(R"({"nodePathMap":[{"node":"a","paths":["/x","/y"]},{"node":"b","paths":[]},
                   {"node":"DEFAULT_PATH_FOR_NON_LISTED_NODES","paths":["/z"]}]})");
  REQUIRE(c.has_value());
  auto p = c->places("any");
  REQUIRE(p.has_value());
  CHECK(p->on("a").value() == text{"/x", "/y"});
  CHECK(p->on("c").value() == text{"/z"});
  CHECK(p->on("b").error().message == "no local path available on node b");
  CHECK(c->base_of("/x/v") == "/x");
  CHECK(c->base_of("/x/ns/claim/deeper/v") == "/x");
  CHECK(c->base_of("/x").empty());
  CHECK(c->base_of("/xy/v").empty());
  c = read(R"({"storageClassConfigs":{"one":{"sharedFileSystemPath":"/nfs"}}})");
  REQUIRE(c.has_value());
  CHECK(c->places("one")->on("whichever").value() == text{"/nfs"});
  CHECK(!c->places("two").has_value());
  for (auto* wrong :
       {"", "[]", R"({"nodePathMap":[{"node":"a","paths":["x"]}]})", R"({"nodePathMap":[{"node":"a","paths":["/"]}]})",
        R"({"nodePathMap":[{"node":"a","paths":["/a/../../etc"]}]})", R"({"nodePathMap":[{"node":"a"},{"node":"a"}]})",
        R"({"nodePathMap":[{"node":"a","paths":["/x","/x/"]}]})",
        R"({"nodePathMap":[{"node":"a"}],"sharedFileSystemPath":"/n"})", R"({"setupCommand":"/bin/x"})"})
    CHECK(!read(wrong).has_value());
  CHECK(!read("{}")->places("x")->on("a").has_value());
}
