// What each controller plans, from what it sees.
#include <algorithm>

#include "at_work.h"
#include "base/strings.h"
#include "control/conditions.h"
#include "control/finalizers.h"
#include "crypto/jwt.h"
#include "crypto/key.h"

using namespace kedge;
using namespace kedge::control;
using namespace std::chrono_literals;

namespace {

json::value pod(std::string_view name, std::string_view rest) {
  return yaml(fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default}}, {}}}", name, rest));
}

}  // namespace

TEST_CASE("serviceaccount-controller: a namespace that is active has its account") {
  at_work w("serviceaccount");
  CHECK(w.named() == text{"default", "kube-system"});
  CHECK(lines(w.look("default", at())) == text{"create serviceaccounts default/default"});
  CHECK(w.work("default") == "");
  CHECK(lines(w.look("default", at())).empty());
  CHECK(lines(w.look("nowhere", at())).empty());
  w.put("{kind: Namespace, apiVersion: v1, metadata: {name: ends}, status: {phase: Terminating}}");
  CHECK(lines(w.look("ends", at())).empty());
  w.named();
  w.put("{kind: ServiceAccount, apiVersion: v1, metadata: {name: other, namespace: default}}");
  w.erase("/registry/serviceaccounts/default/other");
  CHECK(w.named().empty());
  w.erase("/registry/serviceaccounts/default/default");
  CHECK(w.named() == text{"default"});
}

TEST_CASE("root-ca-certificate-publisher-controller: the CA's ConfigMap is as it must be") {
  at_work w("root-ca-cert-publisher", {.root_ca_pem = "pem"});
  CHECK(lines(w.look("default", at())) == text{"create configmaps default/kube-root-ca.crt"});
  CHECK(w.work("default") == "");
  CHECK(lines(w.look("default", at())).empty());
  w.named();
  auto map = w.get("/registry/configmaps/default/kube-root-ca.crt");
  map.set("data", yaml("{ca.crt: other, more: x}"));
  map.member("metadata").erase("annotations");
  w.put(map);
  CHECK(w.named() == text{"default"});
  auto next = updated(w.look("default", at()));
  CHECK(next["data"] == yaml("{ca.crt: pem}"));
  CHECK(next["metadata"]["annotations"].size() == 1);
}

TEST_CASE("token-cleaner-controller: a token goes at its end, or when its end can't be read") {
  at_work w("tokencleaner");
  auto token = [&](std::string_view name, std::string_view end,
                   std::string_view type = "bootstrap.kubernetes.io/token") {
    w.put(
        fmt::format("{{kind: Secret, apiVersion: v1, metadata: {{name: {}, namespace: kube-system}}, type: {}, data: "
                    "{{expiration: '{}'}}}}",
                    name, type, base64(as_bytes(end))));
  };
  token("bootstrap-token-a", "2026-01-01T12:30:00Z");
  token("bootstrap-token-b", "2026-01-01T11:30:00Z");
  token("bootstrap-token-c", "tomorrow");
  token("bootstrap-token-d", "");
  token("bootstrap-token-e", "2026-01-01T11:30:00Z", "Opaque");
  token("other", "2026-01-01T11:30:00Z");
  CHECK(w.named() == text{"kube-system/bootstrap-token-a", "kube-system/bootstrap-token-b",
                          "kube-system/bootstrap-token-c", "kube-system/bootstrap-token-d",
                          "kube-system/bootstrap-token-e"});
  CHECK(lines(w.look("kube-system/bootstrap-token-a", at())) == text{"again 30m0s"});
  CHECK(lines(w.look("kube-system/bootstrap-token-b", at())) ==
        text{"remove secrets kube-system/bootstrap-token-b uid-bootstrap-token-b"});
  CHECK(lines(w.look("kube-system/bootstrap-token-c", at())) ==
        text{"remove secrets kube-system/bootstrap-token-c uid-bootstrap-token-c"});
  CHECK(lines(w.look("kube-system/bootstrap-token-d", at())).empty());
  CHECK(lines(w.look("kube-system/bootstrap-token-e", at())).empty());
}

TEST_CASE(
    "validatingadmissionpolicy-status-controller: what doesn't fit the types of a policy's objects is told once") {
  at_work w("validatingadmissionpolicy-status-controller");
  w.put(
      "{kind: ValidatingAdmissionPolicy, apiVersion: admissionregistration.k8s.io/v1, metadata: {name: a, generation: "
      "2}, "
      "spec: {matchConstraints: {resourceRules: [{operations: ['*'], apiGroups: [apps], apiVersions: [v1], resources: "
      "[deployments, deployments/scale, '*']}]}, variables: [{name: count, expression: object.spec.replicas}], "
      "validations: "
      "[{expression: object.spec.replicas > 1}, {expression: object.spec.nothing == 1}, {expression: variables.count "
      "== "
      "'x', "
      "messageExpression: \"'a' + 1\"}]}}");
  auto p = w.look("a", at());
  CHECK(lines(p) == text{"update validatingadmissionpolicies/status a"});
  const auto status = updated(p)["status"];
  CHECK(status["observedGeneration"].as_integer() == 2);
  auto& told = status["typeChecking"]["expressionWarnings"];
  REQUIRE(told.size() == 3);
  CHECK(told[0]["fieldRef"].as_string() == "spec.validations[1].expression");
  CHECK(told[0]["warning"].as_string() ==
        "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nothing'\n | object.spec.nothing == 1\n | "
        "...........^\n");
  CHECK(told[1]["fieldRef"].as_string() == "spec.validations[2].expression");
  CHECK(told[2]["fieldRef"].as_string() == "spec.validations[2].messageExpression");
  CHECK(w.work("a") == "");
  CHECK(lines(w.look("a", at())).empty());
}

TEST_CASE("clusterrole-aggregation-controller: rules selector by selector, by name, each once") {
  at_work w("clusterrole-aggregation");
  auto role = [&](std::string_view name, std::string_view labels, std::string_view rest) {
    w.put(fmt::format(
        "{{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {{name: {}, labels: {}}}, {}}}", name,
        labels, rest));
  };
  auto rules = [](std::string_view verbs) {
    std::string out;
    for (auto v : split(verbs, ','))
      out += (out.empty() ? "" : ", ") + fmt::format("{{apiGroups: [''], resources: [pods], verbs: [{}]}}", trim(v));
    return "rules: [" + out + "]";
  };
  role("all", "{x: b}",
       "aggregationRule: {clusterRoleSelectors: [{matchLabels: {x: b}}, {matchExpressions: [{key: x, operator: In, "
       "values: [a, b]}]}]}");
  role("a", "{x: a}", rules("a, same"));
  role("b", "{x: b}", rules("b, same"));
  role("c", "{x: c}", rules("c"));
  auto p = w.look("all", at());
  CHECK(lines(p) == text{"apply clusterroles all as clusterrole-aggregation-controller"});
  CHECK(updated(p)["rules"] == yaml("{" + rules("b, same, a") + "}")["rules"]);
  CHECK(w.work("all") == "");
  CHECK(lines(w.look("all", at())).empty());
  CHECK(lines(w.look("a", at())).empty());
}

TEST_CASE("cloud-node-controller: addresses first, then what initialises the node") {
  at_work w("cloud-node");
  w.put(
      "{kind: Node, apiVersion: v1, metadata: {name: new}, spec: {taints: [{key: "
      "node.cloudprovider.kubernetes.io/uninitialized, effect: NoSchedule}]}}");
  CHECK(lines(w.look("new", at())).empty());
  w.put(
      "{kind: Node, apiVersion: v1, metadata: {name: new, annotations: {k3s.io/internal-ip: '10.0.0.1,fd00::1', "
      "k3s.io/external-ip: 1.2.3.4, k3s.io/hostname: new}}, "
      "spec: {taints: [{key: node.cloudprovider.kubernetes.io/uninitialized, effect: NoSchedule}, {key: mine, effect: "
      "NoSchedule}]}}");
  auto p = w.look("new", at());
  CHECK(lines(p) == text{"update nodes/status new"});
  CHECK(updated(p)["status"]["addresses"] ==
        yaml("[{type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: 'fd00::1'}, {type: ExternalIP, "
             "address: 1.2.3.4}, {type: Hostname, address: new}]"));
  CHECK(w.work("new") == "");
  p = w.look("new", at());
  CHECK(lines(p) == text{"update nodes new"});
  auto next = updated(p);
  CHECK(next["spec"]["providerID"].as_string() == "k3s://new");
  CHECK(next["spec"]["taints"] == yaml("[{key: mine, effect: NoSchedule}]"));
  CHECK(next["metadata"]["labels"]["node.kubernetes.io/instance-type"].as_string() == "k3s");
  CHECK(w.work("new") == "");
  CHECK(lines(w.look("new", at())).empty());
}

TEST_CASE("node-ipam-controller: the first free block, and what a node that is gone has left") {
  at_work w("nodeipam", {.cluster_cidrs = {"10.42.0.0/23"}});
  auto node = [&](std::string_view name, std::string_view spec) {
    w.put(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: {}}}, spec: {}}}", name, spec));
  };
  node("a", "{podCIDR: 10.42.0.0/24, podCIDRs: [10.42.0.0/24]}");
  CHECK(w.named().empty());
  node("b", "{}");
  CHECK(w.named() == text{"b"});
  CHECK(w.work("b") == "");
  CHECK(w.get("/registry/minions/b")["spec"]["podCIDR"].as_string() == "10.42.1.0/24");
  node("b", "{podCIDR: 10.42.1.0/24, podCIDRs: [10.42.1.0/24]}");
  node("c", "{}");
  CHECK(w.work("c") == "no free block in the cluster CIDR");
  w.erase("/registry/minions/b");
  CHECK(w.work("c") == "");
  CHECK(w.get("/registry/minions/c")["spec"]["podCIDR"].as_string() == "10.42.1.0/24");
  at_work wrong("nodeipam", {.cluster_cidrs = {"10.42.0.0/16"}, .node_cidr_mask_size = 8});
  wrong.put("{kind: Node, apiVersion: v1, metadata: {name: a}}");
  CHECK(wrong.work("a") == "");
}

TEST_CASE("node-ipam-controller: a block of each range, in their order") {
  at_work w("nodeipam", {.cluster_cidrs = {"fd00:42::/62", "10.42.0.0/23"}});
  auto node = [&](std::string_view name, std::string_view spec) {
    w.put(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: {}}}, spec: {}}}", name, spec));
  };
  auto blocks = [&](std::string_view name) { return w.get(fmt::format("/registry/minions/{}", name))["spec"]; };
  node("a", "{podCIDR: 'fd00:42::/64', podCIDRs: ['fd00:42::/64', 10.42.1.0/24]}");
  CHECK(w.named().empty());
  node("b", "{}");
  CHECK(w.named() == text{"b"});
  CHECK(w.work("b") == "");
  CHECK(blocks("b")["podCIDR"].as_string() == "fd00:42:0:1::/64");
  CHECK(blocks("b")["podCIDRs"] == yaml("['fd00:42:0:1::/64', 10.42.0.0/24]"));
  // One range has none left: nothing is given by halves.
  node("b", "{podCIDR: 'fd00:42:0:1::/64', podCIDRs: ['fd00:42:0:1::/64', 10.42.0.0/24]}");
  node("c", "{}");
  CHECK(w.work("c") == "no free block in the cluster CIDR");
  CHECK(blocks("c")["podCIDRs"].is_null());
  w.erase("/registry/minions/a");
  CHECK(w.work("c") == "");
  CHECK(blocks("c")["podCIDRs"] == yaml("['fd00:42::/64', 10.42.1.0/24]"));
  // As kube-controller-manager: a range of too many blocks is a mistake.
  at_work wide("nodeipam", {.cluster_cidrs = {"fd00::/40"}});
  wide.put("{kind: Node, apiVersion: v1, metadata: {name: a}}");
  CHECK(wide.work("a") == "");
  CHECK(wide.get("/registry/minions/a")["spec"]["podCIDR"].is_null());
}

TEST_CASE("taint-eviction-controller: who goes, when, and who was to go and stays") {
  at_work w("taint-eviction-controller");
  auto node = [&](std::string_view taints) {
    w.put(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: n1}}, spec: {{taints: {}}}}}", taints));
  };
  node("[{key: soft, effect: NoSchedule}]");
  w.put(pod("none", "spec: {nodeName: n1}"));
  w.put(pod("some",
            "spec: {nodeName: n1, tolerations: [{key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 60}, "
            "{operator: Exists, tolerationSeconds: 5}]}"));
  w.put(pod("ever", "spec: {nodeName: n1, tolerations: [{key: k, operator: Exists}]}"));
  w.put(pod("away", "spec: {nodeName: other}"));
  CHECK(w.named().empty());
  node("[{key: k, effect: NoExecute}]");
  CHECK(w.named() == text{"node/n1"});
  CHECK(w.work("node/n1") == "");
  CHECK(w.named() == text{"pod/default/ever", "pod/default/none", "pod/default/some"});
  CHECK(lines(w.look("pod/default/none", at())) ==
        text{"update pods/status default/none", "remove pods default/none uid-none",
             "event Normal TaintManagerEviction about Pod default/none: Marking for deletion Pod default/none"});
  CHECK(lines(w.look("pod/default/ever", at())).empty());
  // The first toleration that matches counts; the time counts from the first look.
  CHECK(lines(w.look("pod/default/some", at("2026-01-01T12:00:00Z", 1h))) == text{"again 1m0s"});
  CHECK(lines(w.look("pod/default/some", at("2026-01-01T12:00:20Z", 1h + 20s))) == text{"again 40s"});
  CHECK(lines(w.look("pod/default/some", at("2026-01-01T12:01:00Z", 1h + 60s))).size() == 3);
  // A second taint that isn't tolerated ends it at once; the end of all taints cancels.
  w.put(
      pod("more",
          "spec: {nodeName: n1, tolerations: [{key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 60}]}"));
  CHECK(w.named() == text{"pod/default/more"});
  CHECK(lines(w.look("pod/default/more", at())) == text{"again 1m0s"});
  node("[]");
  CHECK(w.work("node/n1") == "");
  CHECK(lines(w.look("pod/default/more", at())) ==
        text{"event Normal TaintManagerEviction about Pod default/more: Cancelling deletion of Pod default/more"});
  CHECK(lines(w.look("pod/default/more", at())).empty());
  // What was done is done once.
  node("[{key: k, effect: NoExecute}]");
  w.named();
  CHECK(w.work("pod/default/none") == "");
  CHECK(w.get("/registry/pods/default/none")["metadata"]["deletionTimestamp"].is_string());
  const auto none = w.get("/registry/pods/default/none");
  CHECK_FALSE(condition_of(none, "DisruptionTarget").is_null());
}

TEST_CASE("pod-garbage-collector-controller: who is ended, and how") {
  at_work w("podgc", {.terminated_pod_gc_threshold = 1});
  auto put = [&](std::string_view name, std::string_view meta, std::string_view rest) {
    w.put(
        fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {0}, namespace: default, generation: 3{1}}}, {2}}}",
                    name, meta, rest));
  };
  w.put(
      "{kind: Node, apiVersion: v1, metadata: {name: sick}, spec: {taints: [{key: node.kubernetes.io/out-of-service, "
      "effect: NoExecute}]}, status: {conditions: [{type: Ready, status: Unknown}]}}");
  w.put(
      "{kind: Node, apiVersion: v1, metadata: {name: well}, spec: {taints: [{key: node.kubernetes.io/out-of-service, "
      "effect: NoExecute}]}, status: {conditions: [{type: Ready, status: 'True'}]}}");
  const auto deleting = ", deletionTimestamp: '2026-01-01T00:00:00Z'";
  put("unbound", deleting, "status: {phase: Pending}");
  put("sick", deleting, "spec: {nodeName: sick}, status: {phase: Running}");
  put("well", deleting, "spec: {nodeName: well}, status: {phase: Running}");
  put("runs", "", "spec: {nodeName: sick}, status: {phase: Running}");
  put("lost", "", "spec: {nodeName: gone}, status: {phase: Running}");
  put("old", "", "spec: {nodeName: well}, status: {phase: Succeeded}");
  put("evicted", ", creationTimestamp: '2026-01-01T10:00:00Z'",
      "spec: {nodeName: well}, status: {phase: Failed, reason: Evicted}");
  auto end = [](const std::string& name) {
    return text{"update pods/status default/" + name, "remove pods default/" + name + " uid-" + name + " grace 0"};
  };
  CHECK(lines(w.look("default/unbound", at())) == end("unbound"));
  CHECK(lines(w.look("default/sick", at())) == end("sick"));
  for (auto name : {"well", "runs", "lost", "old", "evicted"})
    CHECK(lines(w.look(std::string("default/") + name, at())).empty());
  // A round: one finished pod too many, the evicted one first.
  CHECK(w.work("round") == "");
  CHECK(w.named() == text{"default/sick", "default/unbound", "default/well", "default/evicted"});
  CHECK(lines(w.look("default/evicted", at())) == text{"remove pods default/evicted uid-evicted grace 0"});
  // Its node has been missing for 40 s since that round.
  auto began = w.loop().now();
  CHECK(lines(w.look("default/lost", {began + 30s, at().wall})).empty());
  auto p = w.look("default/lost", {began + 41s, at().wall});
  CHECK(lines(p) == end("lost"));
  auto next = updated(p);
  CHECK(next["status"]["phase"].as_string() == "Failed");
  CHECK(next["status"]["observedGeneration"].as_integer() == 3);
  CHECK(
      condition_of(next, "DisruptionTarget") ==
      yaml("{type: DisruptionTarget, status: 'True', reason: DeletionByPodGC, message: 'PodGC: node no longer exists', "
           "lastTransitionTime: '2026-01-01T12:00:00Z', observedGeneration: 3}"));
  w.put("{kind: Node, apiVersion: v1, metadata: {name: gone}}");
  CHECK(lines(w.look("default/lost", {began + 50s, at().wall})).empty());
}

TEST_CASE("persistentvolumeclaim-protection-controller: a claim that a pod keeps stays") {
  at_work w("pvc-protection");
  auto claim = [&](std::string_view meta, std::string_view phase = "Pending") {
    w.put(
        fmt::format("{{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {{name: data, namespace: default{}}}, "
                    "status: {{phase: {}}}}}",
                    meta, phase));
  };
  claim("");
  auto p = w.look("default/data", at());
  CHECK(lines(p) == text{"update persistentvolumeclaims default/data"});
  CHECK(has_finalizer(updated(p), "kubernetes.io/pvc-protection"));
  const std::string ends =
      ", finalizers: [kubernetes.io/pvc-protection, a.b/c], deletionTimestamp: '2026-01-01T00:00:00Z'";
  claim(ends);
  w.named();
  const auto volume = "volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]";
  struct row {
    std::string pod;
    bool keeps;
  };
  for (auto& r :
       {row{fmt::format("spec: {{nodeName: n1, {}}}, status: {{phase: Running}}", volume), true},
        row{fmt::format("spec: {{nodeName: n1, {}}}, status: {{phase: Succeeded}}", volume),
            true},  // until the pod is gone
        row{fmt::format("spec: {{{}}}, status: {{phase: Pending}}", volume), false},
        row{"spec: {nodeName: n1, volumes: [{name: d, persistentVolumeClaim: {claimName: other}}]}", false}}) {
    CAPTURE(r.pod);
    w.put(pod("p", r.pod));
    p = w.look("default/data", at());
    CHECK(p.empty() == r.keeps);
    if (!r.keeps) CHECK(updated(p)["metadata"]["finalizers"] == yaml("[a.b/c]"));
  }
  w.named();
  w.put(pod("p", fmt::format("spec: {{nodeName: n1, {}}}", volume)));
  w.erase("/registry/pods/default/p");
  CHECK(w.named() == text{"default/data"});
  // Whether a bound claim is used, by a pod of its own ephemeral volume as well.
  claim(", finalizers: [kubernetes.io/pvc-protection]", "Bound");
  CHECK(condition_of(updated(w.look("default/data", at())), "Unused")["reason"].as_string() == "NoPodsUsingPVC");
  w.put(
      "{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {name: p-d, namespace: default, finalizers: "
      "[kubernetes.io/pvc-protection], ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: uid-p, controller: "
      "true}]}, spec: {accessModes: [ReadWriteOnce]}, status: {phase: Bound}}");
  w.put(pod("p", "spec: {volumes: [{name: d, ephemeral: {volumeClaimTemplate: {}}}]}"));
  auto next = updated(w.look("default/p-d", at()));
  CHECK(condition_of(next, "Unused")["status"].as_string() == "False");
  CHECK(condition_of(next, "Unused")["message"].as_string() == "A pod is currently referencing this PVC");
  CHECK(w.work("default/p-d") == "");
  CHECK(lines(w.look("default/p-d", at())).empty());
  // But for a claim of that name which isn't the pod's.
  auto foreign = w.get("/registry/persistentvolumeclaims/default/p-d");
  foreign.member("metadata").erase("ownerReferences");
  w.put(foreign);
  CHECK(condition_of(updated(w.look("default/p-d", at())), "Unused")["status"].as_string() == "True");
}

TEST_CASE("persistentvolume-protection-controller: a bound volume stays") {
  at_work w("pv-protection");
  auto volume = [&](std::string_view meta, std::string_view phase) {
    w.put(fmt::format("{{kind: PersistentVolume, apiVersion: v1, metadata: {{name: v{}}}, status: {{phase: {}}}}}",
                      meta, phase));
  };
  volume("", "Available");
  CHECK(lines(w.look("v", at())) == text{"update persistentvolumes v"});
  volume(", finalizers: [kubernetes.io/pv-protection], deletionTimestamp: '2026-01-01T00:00:00Z'", "Bound");
  CHECK(lines(w.look("v", at())).empty());
  volume(", finalizers: [kubernetes.io/pv-protection], deletionTimestamp: '2026-01-01T00:00:00Z'", "Released");
  CHECK(updated(w.look("v", at()))["metadata"]["finalizers"].is_null());
}

TEST_CASE("volumeattributesclass-protection-controller: a class that a claim or a volume has stays") {
  at_work w("volumeattributesclass-protection-controller");
  auto gold = [&](std::string_view meta) {
    w.put(fmt::format(
        "{{kind: VolumeAttributesClass, apiVersion: storage.k8s.io/v1, metadata: {{name: gold{}}}, driverName: d}}",
        meta));
  };
  auto claim = [&](std::string_view spec, std::string_view status) {
    w.put(
        fmt::format("{{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {{name: c, namespace: default}}, spec: "
                    "{{{}}}, status: {{{}}}}}",
                    spec, status));
  };
  auto looks = [&] { return lines(w.look("gold", at())); };
  gold("");
  CHECK(has_finalizer(updated(w.look("gold", at())), "kubernetes.io/vac-protection"));
  gold(", finalizers: [kubernetes.io/vac-protection], deletionTimestamp: '2026-01-01T00:00:00Z'");
  CHECK(looks().size() == 1);
  w.named();
  claim("volumeAttributesClassName: gold", "");
  CHECK(looks().empty());
  CHECK(w.named() == text{"gold"});
  claim("volumeAttributesClassName: silver", "currentVolumeAttributesClassName: gold");
  CHECK(looks().empty());
  claim("volumeAttributesClassName: silver", "modifyVolumeStatus: {targetVolumeAttributesClassName: gold}");
  CHECK(looks().empty());
  w.named();
  // Its name elsewhere is no use of it, and the last use that ends names it.
  claim("volumeAttributesClassName: golden, storageClassName: gold", "");
  auto named = w.named();
  std::ranges::sort(named);
  CHECK(named == text{"gold", "golden", "silver"});
  CHECK(updated(w.look("gold", at()))["metadata"]["finalizers"].is_null());
  w.put("{kind: PersistentVolume, apiVersion: v1, metadata: {name: v}, spec: {volumeAttributesClassName: gold}}");
  CHECK(looks().empty());
}

TEST_CASE("namespace-controller: pods first, then the rest, then itself; what stays is told") {
  at_work w("namespace");
  w.put(
      "{kind: Namespace, apiVersion: v1, metadata: {name: ends, deletionTimestamp: '2026-01-01T00:00:00Z'}, spec: "
      "{finalizers: [kubernetes]}, status: {phase: Terminating}}");
  w.put(
      "{kind: Pod, apiVersion: v1, metadata: {name: p, namespace: ends}, spec: {nodeName: n1, "
      "terminationGracePeriodSeconds: 30}}");
  w.put("{kind: ConfigMap, apiVersion: v1, metadata: {name: m, namespace: ends}}");
  w.put("{kind: ConfigMap, apiVersion: v1, metadata: {name: held, namespace: ends, finalizers: [a/b, c/d]}}");
  w.put("{kind: ConfigMap, apiVersion: v1, metadata: {name: m, namespace: default}}");
  CHECK(w.named() == text{"ends"});
  CHECK(w.work("ends") == "");
  CHECK(w.get("/registry/pods/ends/p")["metadata"]["deletionTimestamp"].is_string());
  CHECK(w.keys_under("/registry/configmaps/ends/").size() == 2);
  auto about = [&](std::string_view type) {
    return std::string(condition_of(w.get("/registry/namespaces/ends"), type)["message"].as_string());
  };
  CHECK(about("NamespaceContentRemaining") ==
        "All content successfully removed");  // as kube-controller-manager says while it waits for pods
  w.erase("/registry/pods/ends/p");
  CHECK(w.work("ends") == "");
  CHECK(w.keys_under("/registry/configmaps/ends/") == text{"held"});
  CHECK(about("NamespaceContentRemaining") == "Some resources are remaining: configmaps. has 1 resource instances");
  CHECK(about("NamespaceFinalizersRemaining") ==
        "Some content in the namespace has finalizers remaining: a/b in 1 resource instances, c/d in 1 resource "
        "instances");
  w.erase("/registry/configmaps/ends/held");
  CHECK(w.work("ends") == "");
  CHECK(w.get("/registry/namespaces/ends").is_null());
  CHECK(w.keys_under("/registry/configmaps/default/") == text{"m"});
}

TEST_CASE("resourcequota-controller: sums of what is there") {
  at_work w("resourcequota");
  w.put(
      "{kind: ResourceQuota, apiVersion: v1, metadata: {name: q, namespace: default}, spec: {hard: {pods: '5', "
      "requests.cpu: '2', count/configmaps: '9', services.nodeports: '1'}}}");
  CHECK(w.named() == text{"default/q"});
  w.put(pod("a", "spec: {containers: [{name: c, resources: {requests: {cpu: 300m}}}]}, status: {phase: Running}"));
  w.put(pod("b", "spec: {containers: [{name: c, resources: {requests: {cpu: 200m}}}]}, status: {phase: Succeeded}"));
  w.put("{kind: ConfigMap, apiVersion: v1, metadata: {name: m, namespace: default}}");
  w.put("{kind: ConfigMap, apiVersion: v1, metadata: {name: m, namespace: kube-system}}");
  CHECK(w.work("default/q") == "");
  auto status = w.get("/registry/resourcequotas/default/q")["status"];
  CHECK(status["hard"] == yaml("{pods: '5', requests.cpu: '2', count/configmaps: '9', services.nodeports: '1'}"));
  CHECK(status["used"] == yaml("{pods: '1', requests.cpu: 300m, count/configmaps: '1', services.nodeports: '0'}"));
}

TEST_CASE("disruption-controller: how many may go") {
  struct row {
    std::string spec;
    std::int64_t expected, desired, healthy, allowed;
  };
  for (auto& r : {row{"{minAvailable: 2}", 4, 2, 3, 1}, row{"{minAvailable: 5}", 4, 5, 3, 0},
                  row{"{minAvailable: 50%}", 6, 3, 3, 0}, row{"{maxUnavailable: 1}", 6, 5, 3, 0},
                  row{"{maxUnavailable: 60%}", 6, 2, 3, 1}, row{"{maxUnavailable: 100%}", 6, 0, 3, 3}}) {
    CAPTURE(r.spec);
    at_work w("disruption");
    w.put("{kind: Deployment, apiVersion: apps/v1, metadata: {name: d, namespace: default}, spec: {replicas: 6}}");
    w.put(
        "{kind: ReplicaSet, apiVersion: apps/v1, metadata: {name: r, namespace: default, ownerReferences: "
        "[{apiVersion: apps/v1, kind: Deployment, name: d, uid: uid-d, controller: true}]}, spec: {replicas: 2}}");
    for (int i = 0; i < 4; ++i)
      w.put(fmt::format(
          "{{kind: Pod, apiVersion: v1, metadata: {{name: p{0}, namespace: default, labels: {{app: web}}, "
          "ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: uid-r, controller: true}}]}}, "
          "status: {{conditions: [{{type: Ready, status: '{1}'}}]}}}}",
          i, i < 3 ? "True" : "False"));
    auto budget =
        yaml(fmt::format("{{kind: PodDisruptionBudget, apiVersion: policy/v1, metadata: {{name: b, namespace: default, "
                         "generation: 7}}, spec: {}}}",
                         r.spec));
    budget.member("spec").set("selector", yaml("{matchLabels: {app: web}}"));
    w.put(budget);
    CHECK(w.work("default/b") == "");
    auto status = w.get("/registry/poddisruptionbudgets/default/b")["status"];
    CHECK(status["expectedPods"].as_integer() == r.expected);
    CHECK(status["desiredHealthy"].as_integer() == r.desired);
    CHECK(status["currentHealthy"].as_integer() == r.healthy);
    CHECK(status["disruptionsAllowed"].as_integer() == r.allowed);
    CHECK(status["observedGeneration"].as_integer() == 7);
    CHECK(status["conditions"][0]["reason"].as_string() == (r.allowed ? "SufficientPods" : "InsufficientPods"));
    CHECK(status["conditions"][0]["message"].is_string());
  }
}

TEST_CASE("disruption-controller: a pod whose controller has no scale makes the count fail, and nobody may go") {
  at_work w("disruption");
  w.put("{kind: DaemonSet, apiVersion: apps/v1, metadata: {name: d, namespace: default}}");
  w.put(
      "{kind: Pod, apiVersion: v1, metadata: {name: p, namespace: default, labels: {app: web}, ownerReferences: "
      "[{apiVersion: apps/v1, kind: DaemonSet, name: d, uid: uid-d, controller: true}]}}");
  w.put(
      "{kind: PodDisruptionBudget, apiVersion: policy/v1, metadata: {name: b, namespace: default}, spec: "
      "{maxUnavailable: 1, selector: {matchLabels: {app: web}}}, status: {disruptionsAllowed: 3}}");
  CHECK(w.work("default/b") == "");
  auto budget = w.get("/registry/poddisruptionbudgets/default/b");
  CHECK(budget["status"]["disruptionsAllowed"].as_integer() == 0);
  CHECK(condition_of(budget, "DisruptionAllowed")["reason"].as_string() == "SyncFailed");
  CHECK(condition_of(budget, "DisruptionAllowed")["message"].as_string() ==
        "daemonsets.apps does not implement the scale subresource");
}

TEST_CASE(
    "service-lb-controller: a LoadBalancer gets the addresses of the nodes that may serve it, and who came first keeps "
    "its ports") {
  at_work w("service");
  auto node = [&](std::string_view name, std::string_view internal, std::string_view external = "",
                  std::string_view labels = "{}", std::string_view ready = "True") {
    auto addresses = fmt::format("{{type: InternalIP, address: {}}}", internal) +
                     (external.empty() ? "" : fmt::format(", {{type: ExternalIP, address: {}}}", external));
    w.put(
        fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: {}, labels: {}}}, status: {{addresses: [{}], "
                    "conditions: [{{type: Ready, status: '{}'}}]}}}}",
                    name, labels, addresses, ready));
  };
  auto service = [&](std::string_view name, std::string_view more, std::string_view created = "2026-01-01T00:00:00Z") {
    w.put(fmt::format(
        "{{kind: Service, apiVersion: v1, metadata: {{name: {}, namespace: default, creationTimestamp: '{}'}}, "
        "spec: {{type: LoadBalancer, clusterIP: 10.43.0.9, ipFamilies: [IPv4], ports: [{{port: 80}}]{}}}}}",
        name, created, more));
    w.named();
  };
  auto ingress = [&](const std::string& key) {
    std::string out;
    auto next = updated(w.look(key, at()));
    auto& all = next["status"]["loadBalancer"]["ingress"];
    for (std::size_t i = 0; i < all.size(); ++i) out += (i ? " " : "") + std::string(all[i]["ip"].as_string());
    return out;
  };
  node("b", "10.0.0.2");
  node("a", "10.0.0.1");
  node("dead", "10.0.0.3", "", "{}", "Unknown");
  service("web", "");
  CHECK(ingress("default/web") == "10.0.0.1 10.0.0.2");
  CHECK(w.work("default/web") == "");
  CHECK(lines(w.look("default/web", at())).empty());
  w.named();
  node("a", "10.0.0.1", "203.0.113.1");
  CHECK(w.named() == text{"default/web"});
  CHECK(ingress("default/web") == "203.0.113.1");  // external ones alone, where there are any
  node("b", "10.0.0.2", "", "{svccontroller.k3s.cattle.io/enablelb: 'true'}");
  CHECK(ingress("default/web") == "10.0.0.2");  // only those that are labelled, as soon as one is
  node("b", "10.0.0.2");
  node("a", "10.0.0.1");
  // Another of the same port comes later: it waits.
  service("late", "", "2026-01-02T00:00:00Z");
  CHECK(lines(w.look("default/late", at())).empty());
  service("other", ", loadBalancerClass: example.com/mine");
  CHECK(lines(w.look("default/other", at())).empty());
  w.erase("/registry/services/specs/default/web");
  CHECK(w.named() == text{"default/late"});
  CHECK(ingress("default/late") == "10.0.0.1 10.0.0.2");
  // Policy Local: nodes with an endpoint.
  service("late", ", externalTrafficPolicy: Local");
  CHECK(lines(w.look("default/late", at())).empty());
  w.put(
      "{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, addressType: IPv4, metadata: {name: late-1, namespace: "
      "default, labels: {kubernetes.io/service-name: late}}, "
      "endpoints: [{addresses: [10.42.0.1], nodeName: b, conditions: {ready: true}}]}");
  CHECK(w.named() == text{"default/late"});
  CHECK(ingress("default/late") == "10.0.0.2");
}

TEST_CASE("service-lb-controller: no Service gets a port where the node's own server or kubelet listens") {
  at_work w("service");
  auto node = [&](std::string_view name, std::string_view address, int kubelet) {
    w.put(
        fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: {}}}, status: {{addresses: [{{type: InternalIP, "
                    "address: {}}}], conditions: [{{type: Ready, status: 'True'}}], "
                    "daemonEndpoints: {{kubeletEndpoint: {{Port: {}}}}}}}}}",
                    name, address, kubelet));
  };
  auto ingress = [&](std::string_view name, std::string_view ports) {
    w.put(
        fmt::format("{{kind: Service, apiVersion: v1, metadata: {{name: {}, namespace: default}}, spec: "
                    "{{type: LoadBalancer, clusterIP: 10.43.0.9, ipFamilies: [IPv4], ports: [{}]}}}}",
                    name, ports));
    w.named();
    auto found = lines(w.look("default/" + std::string(name), at()));
    if (found.empty()) return std::string();
    std::string out;
    auto next = updated(w.look("default/" + std::string(name), at()));
    auto& all = next["status"]["loadBalancer"]["ingress"];
    for (std::size_t i = 0; i < all.size(); ++i) out += (i ? " " : "") + std::string(all[i]["ip"].as_string());
    return out;
  };
  node("server", "10.0.0.1", 10250);
  node("agent", "10.0.0.2", 10251);
  w.put(
      "{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, addressType: IPv4, metadata: {name: kubernetes, "
      "namespace: "
      "default, labels: {kubernetes.io/service-name: kubernetes}}, ports: [{name: https, port: 6443}], "
      "endpoints: [{addresses: [10.0.0.1]}]}");
  CHECK(ingress("a", "{port: 443}") == "10.0.0.1 10.0.0.2");
  CHECK(ingress("b", "{name: x, port: 444}, {name: y, port: 6443}") == "10.0.0.2");
  CHECK(ingress("c", "{port: 10250}") == "10.0.0.2");
  CHECK(ingress("d", "{port: 10251}") == "10.0.0.1");
  CHECK(ingress("e", "{port: 10250, protocol: UDP}") == "10.0.0.1 10.0.0.2");
  // Another server is there now: who had its port there loses it.
  w.put(
      "{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, addressType: IPv4, metadata: {name: kubernetes, "
      "namespace: "
      "default, labels: {kubernetes.io/service-name: kubernetes}}, ports: [{name: https, port: 443}], "
      "endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]}");
  CHECK(w.named() == text{"default/a", "default/b", "default/c", "default/d", "default/e"});
}

TEST_CASE("ttl-controller: how long kubelets may keep, by the number of nodes") {
  at_work w("ttl");
  auto node = [&](int i) { w.put(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: n{}}}}}", i)); };
  node(0);
  CHECK(w.named() == text{"n0"});
  CHECK(updated(w.look("n0", at()))["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"].as_string() == "0");
  for (int i = 1; i <= 100; ++i) node(i);
  CHECK(updated(w.look("n0", at()))["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"].as_string() == "15");
  for (int i = 100; i > 90; --i) w.erase(fmt::format("/registry/minions/n{}", i));
  CHECK(updated(w.look("n0", at()))["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"].as_string() == "15");
  w.erase("/registry/minions/n90");
  w.erase("/registry/minions/n89");
  CHECK(updated(w.look("n0", at()))["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"].as_string() == "0");
}

TEST_CASE("serviceaccount-token-controller: a Secret that names an account gets its token, or goes") {
  const auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value();
  at_work w("serviceaccount-token",
            {.root_ca_pem = "ca", .service_account_key = std::make_shared<crypto::private_key>(key)});
  auto secret = [&](std::string_view name, std::string_view account, std::string_view data = "",
                    std::string_view uid = "") {
    w.put(fmt::format(
        "{{kind: Secret, apiVersion: v1, metadata: {{name: {}, namespace: default, annotations: "
        "{{kubernetes.io/service-account.name: {}{}}}}}, type: kubernetes.io/service-account-token, data: {{{}}}}}",
        name, account, uid.empty() ? "" : fmt::format(", kubernetes.io/service-account.uid: {}", uid), data));
  };
  w.put("{kind: ServiceAccount, apiVersion: v1, metadata: {name: build, namespace: default}}");
  w.named();
  secret("t", "build");
  CHECK(w.named() == text{"default/t"});
  auto next = updated(w.look("default/t", at()));
  CHECK(next["metadata"]["annotations"]["kubernetes.io/service-account.uid"].as_string() == "uid-build");
  CHECK(next["data"]["ca.crt"].as_string() == base64(as_bytes("ca")));
  CHECK(next["data"]["namespace"].as_string() == base64(as_bytes("default")));
  const std::vector keys{key.public_part()};
  auto claims = crypto::token_verifier::create(keys)->verify(*unbase64(next["data"]["token"].as_string()));
  REQUIRE(claims.has_value());
  CHECK(*claims == yaml("{iss: kubernetes/serviceaccount, kubernetes.io/serviceaccount/namespace: default, "
                        "kubernetes.io/serviceaccount/secret.name: t, "
                        "kubernetes.io/serviceaccount/service-account.name: build, "
                        "kubernetes.io/serviceaccount/service-account.uid: uid-build, "
                        "sub: 'system:serviceaccount:default:build'}"));
  w.put(next);
  CHECK(lines(w.look("default/t", at())).empty());
  // The CA is put right, a token that is there stays.
  secret("t", "build", "token: bWluZQ==, ca.crt: b2xk");
  next = updated(w.look("default/t", at()));
  CHECK(next["data"]["token"].as_string() == "bWluZQ==");
  CHECK(next["data"]["ca.crt"].as_string() == base64(as_bytes("ca")));
  // Those of nobody, and of an earlier account of the name.
  secret("lost", "absent");
  CHECK(lines(w.look("default/lost", at())) == text{"remove secrets default/lost uid-lost"});
  secret("older", "build", "", "another");
  CHECK(lines(w.look("default/older", at())) == text{"remove secrets default/older uid-older"});
  w.named();
  // Opaque ones are nobody's business.
  w.put("{kind: Secret, apiVersion: v1, metadata: {name: o, namespace: default}, type: Opaque}");
  CHECK(w.named().empty());
  // A token that went is named no more, and an account's tokens go with it.
  w.put(
      "{kind: ServiceAccount, apiVersion: v1, metadata: {name: build, namespace: default}, secrets: [{name: t}, "
      "{name: o}]}");
  w.named();
  w.erase("/registry/secrets/default/older");
  w.named();
  w.erase("/registry/secrets/default/t");
  CHECK(w.named() == text{"reference:default/build/t"});
  CHECK(updated(w.look("reference:default/build/t", at()))["secrets"] == yaml("[{name: o}]"));
  CHECK(lines(w.look("reference:default/build/o", at())).empty());  // it is there
  secret("again", "build");
  w.erase("/registry/serviceaccounts/default/build");
  CHECK(w.named() == text{"default/again", "account:default/build"});
  CHECK(lines(w.look("account:default/build", at())) == text{"remove secrets default/again uid-again"});
}

TEST_CASE("service-cidr-controller: a range stays while it is the only one that has an address in use") {
  at_work w("service-cidr-controller");
  auto range = [&](std::string_view name, std::string_view cidr, std::string_view more = "") {
    w.put(
        fmt::format("{{kind: ServiceCIDR, apiVersion: networking.k8s.io/v1, metadata: {{name: {}{}}}, spec: {{cidrs: "
                    "[{}]}}}}",
                    name, more, cidr));
  };
  auto address = [&](std::string_view a, std::string_view by = "ipallocator.k8s.io") {
    w.put(
        fmt::format("{{kind: IPAddress, apiVersion: networking.k8s.io/v1, metadata: {{name: '{}', labels: "
                    "{{ipaddress.kubernetes.io/managed-by: {}}}}}}}",
                    a, by));
  };
  range("a", "10.0.0.0/24");
  auto next = updated(w.look("a", at()));
  CHECK(has_finalizer(next, "networking.k8s.io/service-cidr-finalizer"));
  w.put(next);
  next = updated(w.look("a", at()));
  CHECK(condition_of(next, "Ready")["message"].as_string() == "Kubernetes Service CIDR is ready");
  CHECK(condition_of(next, "Ready")["reason"].is_string());
  w.put(next);
  CHECK(lines(w.look("a", at())).empty());
  const std::string ends =
      ", finalizers: [networking.k8s.io/service-cidr-finalizer], deletionTimestamp: '2026-01-01T12:00:00Z'";
  auto goes = [&] {
    auto p = w.look("a", at("2026-01-01T12:00:10Z"));
    auto o = updated(p);
    return o["metadata"]["finalizers"].is_null();
  };
  range("a", "10.0.0.0/24", ends);
  CHECK(lines(w.look("a", at("2026-01-01T12:00:03Z"))) == text{"again 7s"});
  CHECK(goes());
  w.named();
  address("10.0.0.9");
  CHECK(w.named() == text{"a"});
  CHECK(!goes());
  CHECK(condition_of(updated(w.look("a", at())), "Ready")["reason"].as_string() == "Terminating");
  w.erase("/registry/ipaddresses/10.0.0.9");
  CHECK(w.named() == text{"a"});
  // Those are of nobody, of another range, and of no Service.
  for (auto a : {"10.0.1.1", "10.0.0.0", "10.0.0.255"}) address(a);
  address("10.0.0.8", "me");
  CHECK(goes());
  address("10.0.0.9");
  range("large", "10.0.0.0/16");
  CHECK(goes());
  w.erase("/registry/servicecidrs/large");
  range("small", "10.0.0.8/29");
  CHECK(goes());
  w.named();
  w.erase("/registry/servicecidrs/small");
  CHECK(w.named() == text{"small", "a"});
  CHECK(!goes());
}
