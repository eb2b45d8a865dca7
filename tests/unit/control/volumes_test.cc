// What the controllers of volumes plan, from what they see.
#include "at_work.h"
#include "control/conditions.h"

using namespace kedge;
using namespace kedge::control;
using namespace std::chrono_literals;

namespace {

json::value claim(std::string_view name, std::string_view size, std::string_view more = "",
                  std::string_view notes = "") {
  return yaml(
      fmt::format("{{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {{name: {}, namespace: default, "
                  "annotations: {{{}}}}}, spec: {{accessModes: [ReadWriteOnce], "
                  "resources: {{requests: {{storage: {}}}}}{}}}, status: {{phase: Pending}}}}",
                  name, notes, size, more));
}
json::value volume(std::string_view name, std::string_view size, std::string_view more = "",
                   std::string_view phase = "Available") {
  return yaml(
      fmt::format("{{kind: PersistentVolume, apiVersion: v1, metadata: {{name: {}}}, spec: {{accessModes: "
                  "[ReadWriteOnce], capacity: {{storage: {}}}, hostPath: {{path: /x}}, "
                  "persistentVolumeReclaimPolicy: Retain{}}}, status: {{phase: {}}}}}",
                  name, size, more, phase));
}

}  // namespace

TEST_CASE("persistentvolume-binder-controller: the smallest volume that is large enough, and both say so in the end") {
  at_work w("persistentvolume-binder");
  for (auto [name, size] : {std::pair{"small", "1Gi"}, {"right", "5Gi"}, {"large", "50Gi"}}) w.put(volume(name, size));
  w.put(volume("other-class", "5Gi", ", storageClassName: fast"));
  w.put(claim("data", "3Gi"));
  auto p = w.look("default/data", at());
  CHECK(lines(p) == text{"update persistentvolumes right", "update persistentvolumeclaims default/data"});
  CHECK(p.steps[0].changes[0].object["spec"]["claimRef"]["uid"].as_string() == "uid-data");
  CHECK(p.steps[0].changes[1].object["spec"]["volumeName"].as_string() == "right");
  // Whatever of it is written, the next looks end it.
  auto half = volume("right", "5Gi");
  half.member("spec").set(
      "claimRef", yaml("{kind: PersistentVolumeClaim, apiVersion: v1, namespace: default, name: data, uid: uid-data}"));
  w.put(half);
  CHECK(lines(w.look("default/data", at())) ==
        text{"update persistentvolumes/status right", "update persistentvolumeclaims default/data"});
  auto bound = claim("data", "3Gi", ", volumeName: right", "pv.kubernetes.io/bind-completed: 'yes'");
  w.put(bound);
  half.member("status").set("phase", "Bound");
  w.put(half);
  p = w.look("default/data", at());
  CHECK(lines(p) == text{"update persistentvolumeclaims/status default/data"});
  CHECK(updated(p)["status"]["phase"].as_string() == "Bound");
  CHECK(updated(p)["status"]["capacity"]["storage"].as_string() == "5Gi");
  bound.set("status", updated(p)["status"]);
  w.put(bound);
  CHECK(lines(w.look("default/data", at())).empty());
  // The volume is lost; and the claim.
  w.erase("/registry/persistentvolumes/right");
  CHECK(updated(w.look("default/data", at()))["status"]["phase"].as_string() == "Lost");
}

TEST_CASE("persistentvolume-binder-controller: who waits is named when what it waits for comes") {
  at_work w("persistentvolume-binder");
  w.put(claim("data", "3Gi"));
  CHECK(w.named() == text{"default/data"});
  CHECK(lines(w.look("default/data", at())) ==
        text{"event Normal FailedBinding about PersistentVolumeClaim default/data: no persistent volumes available for "
             "this claim and no storage class is set"});
  w.put(volume("right", "5Gi"));
  CHECK(w.named() == text{"volume:right", "default/data"});
  w.put(claim("named", "1Gi", ", volumeName: later"));
  w.named();
  CHECK(lines(w.look("default/named", at())).empty());
  w.put(volume("later", "2Gi", "", "Pending"));
  CHECK(w.named() == text{"volume:later", "default/named"});
}

TEST_CASE("persistentvolume-binder-controller: classes provision, or wait for the first consumer") {
  at_work w("persistentvolume-binder");
  w.put(
      "{kind: StorageClass, apiVersion: storage.k8s.io/v1, metadata: {name: fast, annotations: "
      "{storageclass.kubernetes.io/is-default-class: 'true'}}, provisioner: example.org/p, volumeBindingMode: "
      "Immediate}");
  w.put(
      "{kind: StorageClass, apiVersion: storage.k8s.io/v1, metadata: {name: late}, provisioner: example.org/p, "
      "volumeBindingMode: WaitForFirstConsumer}");
  w.put(claim("plain", "1Gi"));
  CHECK(updated(w.look("default/plain", at()))["spec"]["storageClassName"].as_string() == "fast");
  w.put(claim("fast", "1Gi", ", storageClassName: fast"));
  auto p = w.look("default/fast", at());
  CHECK(updated(p)["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"].as_string() ==
        "example.org/p");
  CHECK(p.notices.at(0).reason == "ExternalProvisioning");
  w.put(claim("late", "1Gi", ", storageClassName: late"));
  CHECK(w.look("default/late", at()).notices.at(0).reason == "WaitForFirstConsumer");
  w.put(
      "{kind: Pod, apiVersion: v1, metadata: {name: p, namespace: default}, spec: {volumes: [{name: v, "
      "persistentVolumeClaim: {claimName: late}}], containers: [{name: c, image: i}]}}");
  CHECK(w.look("default/late", at()).notices.at(0).message == "waiting for pod p to be scheduled");
  w.put(claim("late", "1Gi", ", storageClassName: late", "volume.kubernetes.io/selected-node: a"));
  CHECK(w.look("default/late", at()).notices.at(0).reason == "ExternalProvisioning");
  w.put(claim("wrong", "1Gi", ", storageClassName: absent"));
  CHECK(w.look("default/wrong", at()).notices.at(0).message == "storageclass.storage.k8s.io \"absent\" not found");
}

TEST_CASE("persistentvolume-binder-controller: a volume without its claim is released") {
  at_work w("persistentvolume-binder");
  w.put(volume("v", "1Gi", ", claimRef: {namespace: default, name: gone, uid: u}", "Bound"));
  CHECK(updated(w.look("volume:v", at()))["status"]["phase"].as_string() == "Released");
  w.put(volume("v", "1Gi", ", claimRef: {namespace: default, name: gone, uid: u}", "Released"));
  CHECK(lines(w.look("volume:v", at())).empty());
  w.put(volume("fresh", "1Gi", "", "Pending"));
  CHECK(updated(w.look("volume:fresh", at()))["status"]["phase"].as_string() == "Available");
}

TEST_CASE("ephemeral-volume-controller: a claim for each ephemeral volume, the pod's own") {
  at_work w("ephemeral-volume");
  w.put(
      "{kind: Pod, apiVersion: v1, metadata: {name: p, namespace: default}, spec: {containers: [{name: c, image: i}], "
      "volumes: [{name: v, ephemeral: {volumeClaimTemplate: "
      "{metadata: {labels: {a: b}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}]}}");
  w.put(
      "{kind: Pod, apiVersion: v1, metadata: {name: plain, namespace: default}, spec: {containers: [{name: c, image: "
      "i}]}}");
  CHECK(w.named() == text{"default/p"});
  auto made = updated(w.look("default/p", at()));
  CHECK(made["metadata"]["name"].as_string() == "p-v");
  CHECK(made["metadata"]["ownerReferences"][0]["uid"].as_string() == "uid-p");
  CHECK(made["metadata"]["labels"]["a"].as_string() == "b");
  w.put("{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {name: p-v, namespace: default}, spec: {}}");
  CHECK(w.look("default/p", at()).notices.at(0).message ==
        "ephemeral volume v: PVC default/p-v was not created for pod default/p (pod is not owner)");
}

TEST_CASE("persistentvolume-expander-controller: a claim that wants more than it has waits for its driver") {
  at_work w("persistentvolume-expander");
  auto put_claim = [&](std::string_view wants, std::string_view has) {
    auto c = claim("data", wants, ", volumeName: v");
    c.set("status", yaml(fmt::format("{{phase: Bound, capacity: {{storage: {}}}}}", has)));
    w.put(c);
  };
  auto put_volume = [&](std::string_view kind) {
    w.put(
        yaml(fmt::format("{{kind: PersistentVolume, apiVersion: v1, metadata: {{name: v}}, spec: {{capacity: "
                         "{{storage: 5Gi}}, claimRef: {{namespace: default, name: data, uid: uid-data}}, {}: {{}}}}}}",
                         kind)));
  };
  put_volume("csi");
  put_claim("5Gi", "5Gi");
  CHECK(w.named() == text{"default/data"});
  CHECK(lines(w.look("default/data", at())).empty());
  put_claim("5Gi", "5Gi");
  CHECK(w.named().empty());
  put_claim("8Gi", "5Gi");
  CHECK(w.named() == text{"default/data"});
  CHECK(lines(w.look("default/data", at())) ==
        text{"event Normal ExternalExpanding about PersistentVolumeClaim default/data: waiting for an external "
             "controller to expand this PVC"});
  put_volume("awsElasticBlockStore");
  auto p = w.look("default/data", at());
  CHECK(p.notices.at(0).message ==
        "CSI migration enabled for kubernetes.io/aws-ebs; waiting for external resizer to expand the pvc");
  CHECK(updated(p)["metadata"]["annotations"]["volume.kubernetes.io/storage-resizer"].as_string() == "ebs.csi.aws.com");
}

namespace {

// A node, a volume that a driver attaches, its claim, and a pod that uses it.
struct attaching {
  at_work w{"attachdetach"};
  const std::string in_status = "kubernetes.io/csi/csi.example.org^h1";

  explicit attaching(std::string_view modes = "ReadWriteOnce") {
    w.put(
        fmt::format("{{kind: PersistentVolume, apiVersion: v1, metadata: {{name: v}}, spec: {{accessModes: [{}], "
                    "csi: {{driver: csi.example.org, volumeHandle: h1}}, claimRef: {{namespace: default, name: data, "
                    "uid: uid-data}}}}}}",
                    modes));
    auto c = claim("data", "1Gi", ", volumeName: v");
    c.set("status", yaml("{phase: Bound}"));
    w.put(c);
    for (auto name : {"a", "b"}) node(name, "");
  }
  void node(std::string_view name, std::string_view status, std::string_view ready = "True") {
    w.put(fmt::format(
        "{{kind: Node, apiVersion: v1, metadata: {{name: {}, annotations: "
        "{{volumes.kubernetes.io/controller-managed-attach-detach: 'true'}}}}, status: {{conditions: [{{type: Ready, "
        "status: '{}'}}]{}}}}}",
        name, ready, status));
  }
  void pod(std::string_view name, std::string_view node) {
    w.put(
        fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default}}, spec: {{nodeName: {}, "
                    "volumes: [{{name: d, persistentVolumeClaim: {{claimName: data}}}}]}}, status: {{phase: "
                    "Running}}}}",
                    name, node));
  }
  std::string attach(const std::string& node) {
    auto made = updated(w.look(node, at()));
    CHECK(made["spec"]["nodeName"].as_string() == node);
    CHECK(made["spec"]["source"]["persistentVolumeName"].as_string() == "v");
    w.put(made);
    return std::string(made["metadata"]["name"].as_string());
  }
  void report(const std::string& attachment, std::string_view status) {
    auto o = w.get("/registry/volumeattachments/" + attachment);
    o.set("status", yaml(status));
    w.put(o);
  }
};

}  // namespace

TEST_CASE("persistentvolume-attach-detach-controller: a volume goes to its pod's node, and leaves it") {
  attaching t;
  auto& w = t.w;
  w.named();
  t.pod("p", "a");
  CHECK(w.named() == text{"a"});
  auto name = t.attach("a");
  CHECK(name == "csi-92fe121f0c6fb2d4c367435548f845b68f5ecdb6f8c0fc9124415d19e00f0341");
  CHECK(w.named() == text{"a"});
  CHECK(w.look("a", at()).empty());
  t.report(name, "{attached: false, attachError: {message: no room}}");
  CHECK(lines(w.look("a", at())) == text{"event Warning FailedAttachVolume about Pod default/p: AttachVolume.Attach "
                                         "failed for volume \"v\" : no room"});
  CHECK(w.look("a", at()).empty());
  t.report(name, "{attached: true}");
  auto p = w.look("a", at());
  CHECK(lines(p) == text{"update nodes/status a",
                         "event Normal SuccessfulAttachVolume about Pod default/p: "
                         "AttachVolume.Attach succeeded for volume \"v\" "});
  CHECK(updated(p)["status"]["volumesAttached"] ==
        json::value(json::array{json::object{{"name", t.in_status}, {"devicePath", ""}}}));
  w.put(updated(p));
  CHECK(w.look("a", at()).empty());
  // Mounted it stays.
  const auto attached = fmt::format(", volumesAttached: [{{name: '{0}', devicePath: ''}}]", t.in_status);
  t.node("a", fmt::format("{}, volumesInUse: ['{}']", attached, t.in_status));
  w.erase("/registry/pods/default/p");
  w.named();
  CHECK(lines(w.look("a", at())).empty());
  t.node("a", attached);
  CHECK(w.named() == text{"a"});
  CHECK(lines(w.look("a", at())) == text{"update nodes/status a", "remove volumeattachments " + name + " uid-" + name});
  CHECK(w.work("a") == "");
  CHECK(!w.get("/registry/volumeattachments/" + name).is_object());
  CHECK(w.get("/registry/minions/a")["status"]["volumesAttached"].empty());
}

TEST_CASE("persistentvolume-attach-detach-controller: what is mounted on a node that fell silent goes in the end") {
  for (auto how : {"waits", "is out of service", "is deleted"}) {
    CAPTURE(how);
    attaching t;
    auto& w = t.w;
    t.pod("p", "a");
    auto name = t.attach("a");
    t.report(name, "{attached: true}");
    t.node("a", fmt::format(", volumesAttached: [{{name: '{0}', devicePath: ''}}], volumesInUse: ['{0}']", t.in_status),
           "Unknown");
    w.erase("/registry/pods/default/p");
    const auto began = at();
    CHECK(lines(w.look("a", began)) == text{"again 6m0.001s"});
    if (how == std::string_view("is deleted")) {
      w.erase("/registry/minions/a");
      CHECK(lines(w.look("a", began)) == text{"again 6m0.001s"});
    } else if (how == std::string_view("is out of service")) {
      auto node = w.get("/registry/minions/a");
      node.set("spec", yaml("{taints: [{key: node.kubernetes.io/out-of-service, effect: NoExecute}]}"));
      w.put(node);
      CHECK(w.look("a", began).steps.size() == 2);
      continue;
    }
    CHECK(!w.look("a", {began.now + 6min + 1ms, began.wall}).steps.empty());
  }
}

TEST_CASE("persistentvolume-attach-detach-controller: one node at a time, unless many may have it") {
  attaching t;
  auto& w = t.w;
  t.pod("p", "a");
  t.pod("q", "b");
  auto name = t.attach("a");
  CHECK(lines(w.look("b", at())) == text{"event Warning FailedAttachVolume about Pod default/q: Waiting for detach for "
                                         "volume \"v\" Volume is already used by pod(s) p"});
  CHECK(w.look("b", at()).empty());  // told once
  w.named();
  w.erase("/registry/volumeattachments/" + name);
  CHECK(w.named() == text{"b", "a"});
  attaching many("ReadWriteMany");
  many.pod("p", "a");
  many.pod("q", "b");
  CHECK(many.attach("a") != many.attach("b"));
}

TEST_CASE("persistentvolume-attach-detach-controller: what is none of its business") {
  attaching t;
  auto& w = t.w;
  w.put(
      "{kind: CSIDriver, apiVersion: storage.k8s.io/v1, metadata: {name: csi.example.org}, spec: {attachRequired: "
      "false}}");
  t.pod("p", "a");
  CHECK(w.look("a", at()).empty());
  w.put("{kind: CSIDriver, apiVersion: storage.k8s.io/v1, metadata: {name: csi.example.org}, spec: {}}");
  CHECK(!w.look("a", at()).empty());
  auto node = w.get("/registry/minions/a");
  node.member("metadata").erase("annotations");
  w.put(node);
  CHECK(w.look("a", at()).empty());
  // An attachment of another name, a claim that waits.
  t.node("a", "");
  w.put(
      "{kind: VolumeAttachment, apiVersion: storage.k8s.io/v1, metadata: {name: mine}, spec: {attacher: "
      "csi.example.org, nodeName: b, source: {persistentVolumeName: v}}}");
  CHECK(w.look("b", at()).empty());
  auto c = w.get("/registry/persistentvolumeclaims/default/data");
  c.set("status", yaml("{phase: Pending}"));
  w.put(c);
  w.named();
  CHECK(w.look("a", at()).empty());
  c.set("status", yaml("{phase: Bound}"));
  w.put(c);
  CHECK(w.named() == text{"claim:default/data"});
  CHECK(w.work("claim:default/data") == "");
  CHECK(w.named() == text{"a"});
}
