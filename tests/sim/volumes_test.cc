// Claims and volumes as they run: two leaders at a time, which stop between any two writes.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "control_world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

const api::resource_id pods{"", "v1", "pods"};
const api::resource_id claims{"", "v1", "persistentvolumeclaims"};
const api::resource_id volumes{"", "v1", "persistentvolumes"};
const api::resource_id nodes{"", "v1", "nodes"};
const api::resource_id attachments{"storage.k8s.io", "v1", "volumeattachments"};

std::string key_of(int claim) { return fmt::format("/registry/persistentvolumeclaims/default/c{}", claim); }

json::value volume(int i, std::string_view size) {
  return yaml(
      fmt::format("{{kind: PersistentVolume, apiVersion: v1, metadata: {{name: v{}}}, spec: {{accessModes: "
                  "[ReadWriteOnce], capacity: {{storage: {}}}, nfs: {{server: s, path: /x}}}}}}",
                  i, size));
}
json::value claim(int i, std::string_view size) {
  return yaml(
      fmt::format("{{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {{name: c{}, namespace: default}}, spec: "
                  "{{accessModes: [ReadWriteOnce], storageClassName: '', "
                  "resources: {{requests: {{storage: {}}}}}}}}}",
                  i, size));
}

}  // namespace

TEST_CASE("persistentvolume-binder-controller: each claim has one volume, and each volume one claim") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"persistentvolume-binder"}});
    c.crash_between_writes(0.05);
    for (int i = 0; i < 6; ++i) c.create(volumes, volume(i, i < 3 ? "1Gi" : "5Gi"));
    for (int i = 0; i < 7; ++i) c.create(claims, claim(i, i % 2 ? "1Gi" : "3Gi"));
    auto bound = [&] {
      std::map<std::string, int> taken;
      for (auto& [_, one] : c.all("/registry/persistentvolumeclaims/default/"))
        if (one["status"]["phase"].as_string() == "Bound") ++taken[std::string(one["spec"]["volumeName"].as_string())];
      bool once = true;
      for (auto& [name, n] : taken) {
        once = once && n == 1;
        once = once && c.get("/registry/persistentvolumes/" + name)["status"]["phase"].as_string() == "Bound";
      }
      return once ? taken.size() : 0;
    };
    // Four want more than 1Gi, and three volumes have it.
    CHECK(c.until([&] { return bound() == 6; }));
    c.create(volumes, volume(9, "10Gi"));
    CHECK(c.until([&] { return bound() == 7; }));
    c.crash_between_writes(0);
    c.remove(claims, "default", "c0");
    c.change(claims, "default", "c0", [](json::value& v) { v.member("metadata").erase("finalizers"); });
    CHECK(c.until([&] {
      std::size_t released = 0;
      for (auto& [_, v] : c.all("/registry/persistentvolumes/"))
        released += v["status"]["phase"].as_string() == "Released";
      return released == 1;
    }));
  }
}

TEST_CASE("ephemeral-volume-controller: a pod's claim is made once, and again when it is lost") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"ephemeral-volume"}});
    c.crash_between_writes(0.05);
    c.create(pods, yaml("{kind: Pod, apiVersion: v1, metadata: {name: p, namespace: default}, spec: {containers: "
                        "[{name: c, image: i}], volumes: [{name: v, ephemeral: {volumeClaimTemplate: "
                        "{spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}]}}"));
    const std::string key = "/registry/persistentvolumeclaims/default/p-v";
    CHECK(c.until([&] { return c.exists(key); }));
    c.remove(claims, "default", "p-v");
    c.change(claims, "default", "p-v", [](json::value& v) { v.member("metadata").erase("finalizers"); });
    CHECK(c.until([&] { return c.exists(key) && c.get(key)["metadata"]["deletionTimestamp"].is_null(); }));
  }
}

TEST_CASE("persistentvolume-attach-detach-controller: a volume is on one node at a time, wherever its pod goes") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"persistentvolume-binder", "attachdetach"}});
    c.crash_between_writes(0.05);
    for (auto name : {"a", "b"})
      c.create(nodes, yaml(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: {}, annotations: "
                                       "{{volumes.kubernetes.io/controller-managed-attach-detach: 'true'}}}}}}",
                                       name)));
    c.create(volumes,
             yaml("{kind: PersistentVolume, apiVersion: v1, metadata: {name: v}, spec: {accessModes: "
                  "[ReadWriteOnce], capacity: {storage: 5Gi}, csi: {driver: d.example.org, volumeHandle: h}}}"));
    c.create(claims, claim(1, "1Gi"));
    // As an external attacher does it.
    auto attach = [&] {
      auto all = c.all("/registry/volumeattachments/");
      CHECK(all.size() <= 1);
      for (auto& [_, o] : all)
        if (!o["status"]["attached"].as_bool())
          c.set_status(attachments, "", std::string(o["metadata"]["name"].as_string()),
                       [](json::value& v) { v.member("status").set("attached", true); });
      return all.size();
    };
    auto reported = [&](std::string_view node) {
      return c.get(fmt::format("/registry/minions/{}", node))["status"]["volumesAttached"].size();
    };
    for (auto [pod, node] : {std::pair{"p", "a"}, {"q", "b"}, {"r", "a"}}) {
      c.create(pods, yaml(fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default}}, spec: "
                                      "{{nodeName: {}, containers: [{{name: c, image: i}}], volumes: [{{name: v, "
                                      "persistentVolumeClaim: {{claimName: c1}}}}]}}}}",
                                      pod, node)));
      CHECK(c.until([&, at = node] { return attach() == 1 && reported(at) == 1; }));
      c.remove(pods, "default", pod, {.grace_seconds = 0});
      CHECK(c.until([&, at = node] { return reported(at) == 0; }));
    }
    CHECK(c.until([&] { return c.count("/registry/volumeattachments/") == 0; }));
  }
}

TEST_CASE("persistentvolume-expander-controller: who wants more is told to wait, by either leader") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"persistentvolume-binder", "persistentvolume-expander"}});
    c.crash_between_writes(0.03);
    c.create({"storage.k8s.io", "v1", "storageclasses"},
             yaml("{kind: StorageClass, apiVersion: storage.k8s.io/v1, metadata: {name: grows}, provisioner: x.org/p, "
                  "allowVolumeExpansion: true}"));
    c.create(volumes, yaml("{kind: PersistentVolume, apiVersion: v1, metadata: {name: v}, spec: {accessModes: "
                           "[ReadWriteOnce], capacity: {storage: 5Gi}, storageClassName: grows, csi: {driver: "
                           "d.example.org, volumeHandle: h}}}"));
    auto mine = claim(1, "1Gi");
    mine.member("spec").set("storageClassName", "grows");
    c.create(claims, mine);
    CHECK(c.until([&] { return c.get(key_of(1))["status"]["phase"].as_string() == "Bound"; }));
    c.change(claims, "default", "c1",
             [](json::value& v) { v.member("spec").member("resources").member("requests").set("storage", "8Gi"); });
    CHECK(c.until([&] {
      return std::ranges::count(c.events("c1"),
                                "ExternalExpanding: waiting for an external controller to expand this PVC") > 0;
    }));
    CHECK(c.get(key_of(1))["status"]["capacity"]["storage"].as_string() == "5Gi");
  }
}
