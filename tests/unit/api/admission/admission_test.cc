#include <fmt/format.h>

#include "../access_harness.h"

#include "api/admission/quota_usage.h"
#include "crypto/request.h"

namespace kedge::api {
namespace {

using namespace testing;

constexpr std::string_view basics = R"(
{kind: Namespace, metadata: {name: default}, status: {phase: Active}}
---
{kind: Namespace, metadata: {name: gone}, status: {phase: Terminating}}
---
{kind: Namespace, metadata: {name: kube-node-lease}, status: {phase: Active}}
---
{kind: Namespace, metadata: {name: strict, labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted}}, status: {phase: Active}}
---
{kind: ServiceAccount, metadata: {name: default, namespace: default}, imagePullSecrets: [{name: pull}]}
---
{kind: ServiceAccount, metadata: {name: default, namespace: strict}, automountServiceAccountToken: false}
)";

constexpr std::string_view pod =
    "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {containers: [{name: c, image: i}]}}";

TEST_CASE("NamespaceLifecycle") {
  cluster c;
  c.put(basics);
  gate g(c);
  auto map = [](std::string_view ns) {
    return "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: " + std::string(ns) + "}}";
  };
  CHECK(g.create(admin(), map("default")).good);
  auto missing = g.create(admin(), map("nope"));
  CHECK(missing.why.code == 404);
  CHECK(missing.message == R"(namespaces "nope" not found)");
  auto ending = g.create(admin(), map("gone"));
  CHECK(
      ending.message ==
      R"(configmaps "a" is forbidden: unable to create new content in namespace gone because it is being terminated)");
  REQUIRE(ending.why.causes.size() == 1);
  CHECK(ending.why.causes[0].reason == "NamespaceTerminating");
  CHECK(g.update(admin(), map("gone"), map("gone")).good);
  CHECK(g.remove(admin(), map("gone")).good);
  CHECK(g.remove(admin(), "{apiVersion: v1, kind: Namespace, metadata: {name: default}}").message ==
        R"(namespaces "default" is forbidden: this namespace may not be deleted)");
  CHECK(g.remove(admin(), "{apiVersion: v1, kind: Namespace, metadata: {name: gone}}").good);
}

TEST_CASE("a pod gets its account, token, priority and tolerations") {
  cluster c;
  c.put(basics);
  gate g(c);
  auto made = g.create(admin(), pod);
  REQUIRE_MESSAGE(made.good, made.message);
  auto& spec = made.object["spec"];
  CHECK(spec["serviceAccountName"].as_string() == "default");
  CHECK(spec["serviceAccount"].as_string() == "default");
  CHECK(spec["imagePullSecrets"][std::size_t{0}]["name"].as_string() == "pull");
  auto volume = spec["volumes"][std::size_t{0}]["name"].as_string();
  CHECK(volume.starts_with("kube-api-access-"));
  CHECK(volume.size() == 21);
  auto& mount = spec["containers"][std::size_t{0}]["volumeMounts"][std::size_t{0}];
  CHECK(mount["name"].as_string() == volume);
  CHECK(mount["readOnly"].as_bool());
  CHECK(spec["volumes"][std::size_t{0}]["projected"]["sources"].size() == 3);
  CHECK(spec["priority"].as_integer(-1) == 0);
  CHECK(spec["preemptionPolicy"].as_string() == "PreemptLowerPriority");
  CHECK(spec["tolerations"].size() == 2);
  CHECK(g.create(admin(),
                 "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {serviceAccountName: x}}")
            .message ==
        R"(pods "p" is forbidden: error looking up service account default/x: serviceaccount "x" not found)");
}

TEST_CASE("Priority") {
  cluster c;
  c.put(basics);
  c.put(
      "{kind: PriorityClass, metadata: {name: high}, value: 1000}\n---\n{kind: PriorityClass, metadata: {name: usual}, "
      "value: 5, globalDefault: true, preemptionPolicy: Never}");
  gate g(c);
  auto with = [](std::string_view fields) {
    return "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {" + std::string(fields) + "}}";
  };
  CHECK(g.create(admin(), with("priorityClassName: high")).object["spec"]["priority"].as_integer() == 1000);
  auto usual = g.create(admin(), with("")).object;
  CHECK(usual["spec"]["priorityClassName"].as_string() == "usual");
  CHECK(usual["spec"]["preemptionPolicy"].as_string() == "Never");
  CHECK(g.create(admin(), with("priorityClassName: x")).message ==
        R"(pods "p" is forbidden: no PriorityClass with name x was found)");
  CHECK(!g.create(admin(), with("priorityClassName: high, priority: 7")).good);
  CHECK(!g.create(admin(),
                  "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: z}, value: 1, "
                  "globalDefault: true}")
             .good);
}

TEST_CASE("nodes, volumes and classes get what they lack") {
  cluster c;
  c.put(basics);
  c.put(R"(
{kind: StorageClass, metadata: {name: old, creationTimestamp: "2026-01-01T00:00:00Z", annotations: {storageclass.kubernetes.io/is-default-class: "true"}}}
---
{kind: StorageClass, metadata: {name: new, creationTimestamp: "2026-02-01T00:00:00Z", annotations: {storageclass.kubernetes.io/is-default-class: "true"}}}
---
{kind: IngressClass, metadata: {name: web, annotations: {ingressclass.kubernetes.io/is-default-class: "true"}}}
---
{kind: RuntimeClass, metadata: {name: vm}, overhead: {podFixed: {cpu: 250m}}, scheduling: {nodeSelector: {vm: "yes"}}}
)");
  gate g(c);
  auto made = g.create(admin(), "{apiVersion: v1, kind: Node, metadata: {name: n}}").object;
  CHECK(json::write(made["spec"]["taints"]) == R"([{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"}])");
  auto claim =
      g.create(admin(), "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: default}}")
          .object;
  CHECK(claim["spec"]["storageClassName"].as_string() == "new");
  CHECK(json::write(claim["metadata"]["finalizers"]) == R"(["kubernetes.io/pvc-protection"])");
  CHECK(g.create(admin(),
                 "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: default}, spec: "
                 "{storageClassName: ''}}")
            .object["spec"]["storageClassName"]
            .as_string("-")
            .empty());
  auto a = ask(admin(), "create", "networking.k8s.io", "ingresses", "default", "i");
  auto ingress = yaml("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: default}}");
  CHECK(g.run(operation::create, a, &ingress).object["spec"]["ingressClassName"].as_string() == "web");
  auto with = [](std::string_view name) {
    return "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {runtimeClassName: " +
           std::string(name) + "}}";
  };
  auto vm = g.create(admin(), with("vm")).object;
  CHECK(vm["spec"]["overhead"]["cpu"].as_string() == "250m");
  CHECK(vm["spec"]["nodeSelector"]["vm"].as_string() == "yes");
  CHECK(g.create(admin(), with("x")).message == R"(pods "p" is forbidden: pod rejected: RuntimeClass "x" not found)");
}

TEST_CASE("LimitRanger fills and bounds") {
  cluster c;
  c.put(basics);
  c.put(R"(
{kind: LimitRange, metadata: {name: l, namespace: default}, spec: {limits: [
  {type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 100m}, max: {cpu: "1"}},
  {type: PersistentVolumeClaim, min: {storage: 2Gi}}]}}
)");
  gate g(c);
  auto made = g.create(admin(), pod);
  REQUIRE_MESSAGE(made.good, made.message);
  auto& container = made.object["spec"]["containers"][std::size_t{0}];
  CHECK(json::write(container["resources"]) == R"({"limits":{"cpu":"500m"},"requests":{"cpu":"100m"}})");
  CHECK(annotation_of(made.object, "kubernetes.io/limit-ranger") ==
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c");
  CHECK(g.create(admin(),
                 "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {containers: [{name: c, "
                 "resources: {limits: {cpu: 2}}}]}}")
            .message == R"(pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2)");
  CHECK(
      g.create(admin(),
               "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: default}, spec: "
               "{resources: {requests: {storage: 1Gi}}}}")
          .message ==
      R"(persistentvolumeclaims "c" is forbidden: minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi)");
}

TEST_CASE("a claim of devices counts for its classes, of alternatives the most") {
  auto claim = json::parse(R"({"spec":{"devices":{"requests":[
      {"name":"a","exactly":{"deviceClassName":"gpu","allocationMode":"ExactCount","count":2}},
      {"name":"b","firstAvailable":[
        {"name":"x","deviceClassName":"gpu","allocationMode":"ExactCount","count":3},
        {"name":"y","deviceClassName":"gpu","allocationMode":"ExactCount","count":1},
        {"name":"z","deviceClassName":"nic","allocationMode":"All"}]}]}}})");
  REQUIRE(claim.has_value());
  auto used = quota_usage("resource.k8s.io", "resourceclaims", *claim);
  CHECK(used.at("count/resourceclaims.resource.k8s.io").text() == "1");
  CHECK(used.at("gpu.deviceclass.resource.k8s.io/devices").text() == "5");
  CHECK(used.at("nic.deviceclass.resource.k8s.io/devices").text() == "32");
}

TEST_CASE("a claim of devices counts for the extended resources that its classes stand for, less what its pod does") {
  cluster c;
  c.put(basics);
  c.put(R"(
{apiVersion: resource.k8s.io/v1, kind: DeviceClass, metadata: {name: gpu}, spec: {extendedResourceName: example.com/gpu}}
---
{apiVersion: resource.k8s.io/v1, kind: DeviceClass, metadata: {name: nic}, spec: {}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default, uid: u}, spec: {containers: [{name: c, image: i, resources: {requests: {example.com/gpu: 2}, limits: {example.com/gpu: 2}}}]}}
)");
  auto used = [&](std::string_view metadata) {
    auto claim = yaml(fmt::format(
        "{{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {{name: x, namespace: default{}}}, spec: "
        "{{devices: {{requests: [{{name: a, exactly: {{deviceClassName: gpu, allocationMode: ExactCount, count: 3}}}}, "
        "{{name: b, exactly: {{deviceClassName: nic, allocationMode: ExactCount, count: 1}}}}]}}}}}}",
        metadata));
    std::string out;
    for (auto& [name, n] : quota_usage("resource.k8s.io", "resourceclaims", claim, c.now()))
      if (name.starts_with("requests.")) out += name.substr(9) + "=" + n.text() + " ";
    return out;
  };
  CHECK(used("") == "deviceclass.resource.kubernetes.io/gpu=3 example.com/gpu=3 ");
  auto made_for = [&](std::string_view uid) {
    return used(
        fmt::format(", annotations: {{resource.kubernetes.io/extended-resource-claim: 'true'}}, "
                    "ownerReferences: [{{apiVersion: v1, kind: Pod, name: p, uid: {}, controller: true}}]",
                    uid));
  };
  CHECK(made_for("u") == "deviceclass.resource.kubernetes.io/gpu=3 example.com/gpu=1 ");
  CHECK(made_for("other") == "deviceclass.resource.kubernetes.io/gpu=3 example.com/gpu=3 ");
}

TEST_CASE("who says which devices a claim has, and how they are, may do so") {
  cluster c;
  c.put(basics);
  c.put(R"(
{kind: ClusterRole, metadata: {name: binder}, rules: [{apiGroups: [resource.k8s.io], resources: [resourceclaims/binding], verbs: [update]}]}
---
{kind: ClusterRoleBinding, metadata: {name: binder}, subjects: [{kind: User, name: scheduler}], roleRef: {kind: ClusterRole, name: binder}}
---
{kind: ClusterRole, metadata: {name: driver}, rules: [{apiGroups: [resource.k8s.io], resources: [resourceclaims/driver], resourceNames: [gpu.example.com], verbs: ["associated-node:update"]}]}
---
{kind: ClusterRoleBinding, metadata: {name: driver}, subjects: [{kind: ServiceAccount, name: gpu, namespace: default}], roleRef: {kind: ClusterRole, name: driver}}
)");
  gate g(c);
  auto claim = [](std::string_view status) {
    return fmt::format(
        "{{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {{name: c, namespace: default}}, "
        "status: {{{}}}}}",
        status);
  };
  constexpr std::string_view result = "request: r, driver: gpu.example.com, pool: p, device: d";
  auto allocation = [&](std::string_view more) {
    return fmt::format(
        "allocation: {{devices: {{results: [{{{}{}}}]}}, nodeSelector: {{nodeSelectorTerms: [{{matchFields: "
        "[{{key: metadata.name, operator: In, values: [a]}}]}}]}}}}",
        result, more);
  };
  const user_info scheduler{.name = "scheduler", .uid = {}, .groups = {}, .extra = {}},
      anybody{.name = "anybody", .uid = {}, .groups = {}, .extra = {}};
  auto given = claim(allocation(""));
  CHECK(g.update(scheduler, given, claim(""), "status").good);
  auto no = g.update(anybody, given, claim(""), "status");
  CHECK(no.why.code == 422);
  CHECK(no.message ==
        "ResourceClaim.resource.k8s.io \"c\" is invalid: status.allocation: Forbidden: changing status.allocation or "
        "status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"update\" permission: "
        "resourceclaims.resource.k8s.io is forbidden: User \"anybody\" cannot update resource "
        "\"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope");
  // Devices that others use are for namespaces that say so.
  CHECK(g.update(scheduler, claim(allocation(", adminAccess: true")), claim(""), "status")
            .message.contains(
                "status.allocation.devices.results[0].adminAccess: Forbidden: admin access to devices requires the"));
  // A driver speaks of its own devices, from the node where they are.
  auto told = claim(allocation("") + ", devices: [{driver: gpu.example.com, pool: p, device: d}]");
  auto driver = [](std::string node) {
    return user_info{.name = "system:serviceaccount:default:gpu",
                     .uid = {},
                     .groups = {"system:serviceaccounts"},
                     .extra = {{"authentication.kubernetes.io/node-name", {std::move(node)}}}};
  };
  CHECK(g.update(driver("a"), told, given, "status").good);
  CHECK(g.update(driver("b"), told, given, "status")
            .message.contains(
                "status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", "
                "verb=\"[arbitrary-node:update]\" permission: resourceclaims.resource.k8s.io \"gpu.example.com\" is "
                "forbidden: "));
  CHECK(!g.update(anybody, given, told, "status").good);
}

TEST_CASE("quotas are checked and charged in one step") {
  cluster c;
  c.put(basics);
  c.put(R"(
{kind: ResourceQuota, metadata: {name: q, namespace: default}, spec: {hard: {configmaps: "2", requests.cpu: "1"}},
 status: {hard: {configmaps: "2", requests.cpu: "1"}, used: {configmaps: "0", requests.cpu: "0"}}}
---
{kind: ResourceQuota, metadata: {name: long, namespace: default}, spec: {scopes: [NotTerminating], hard: {pods: "1"}}, status: {used: {pods: "0"}}}
)");
  gate g(c);
  auto used = [&](std::string_view quota, std::string_view what) {
    return std::string(
        c.get("/registry/resourcequotas/default/" + std::string(quota))["status"]["used"][what].as_string());
  };
  auto map = [](int i) {
    return "{apiVersion: v1, kind: ConfigMap, metadata: {name: x" + std::to_string(i) + ", namespace: default}}";
  };
  CHECK(g.create(admin(), map(1), true).good);
  CHECK(used("q", "configmaps") == "0");  // a dry run charges nothing
  CHECK(g.create(admin(), map(1)).good);
  CHECK(g.create(admin(), map(2)).good);
  CHECK(used("q", "configmaps") == "2");
  CHECK(
      g.create(admin(), map(3)).message ==
      R"(configmaps "x3" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2)");
  CHECK(g.update(admin(), map(1), map(1)).good);
  CHECK(g.create(admin(), pod).message ==
        R"(pods "p" is forbidden: failed quota: q: must specify requests.cpu for: c)");
  CHECK(used("long", "pods") == "0");  // a refusal by one quota charges none
  auto asking = [](std::string_view cpu, std::string_view more = "") {
    return "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {" + std::string(more) +
           "containers: [{name: c, resources: {requests: {cpu: " + std::string(cpu) + "}}}]}}";
  };
  CHECK(g.create(admin(), asking("600m")).good);
  CHECK(used("q", "requests.cpu") == "600m");
  CHECK(used("long", "pods") == "1");
  CHECK(!g.create(admin(), asking("500m", "activeDeadlineSeconds: 5, ")).good);
  CHECK(g.create(admin(), asking("400m", "activeDeadlineSeconds: 5, ")).good);
  CHECK(used("q", "requests.cpu") == "1");
}

constexpr std::string_view node_world = R"(
{kind: Node, metadata: {name: n1, uid: u1}}
---
{kind: Pod, metadata: {name: mine, namespace: default, uid: p1}, spec: {nodeName: n1, serviceAccountName: default,
  volumes: [{name: t, projected: {sources: [{serviceAccountToken: {path: token}}, {serviceAccountToken: {path: vault, audience: vault}}]}}, {name: c, csi: {driver: csi.example.com}},
            {name: d, persistentVolumeClaim: {claimName: claim}}]}}
---
{kind: Pod, metadata: {name: silent, namespace: default, uid: p2}, spec: {nodeName: n1, serviceAccountName: default}}
---
{kind: Pod, metadata: {name: theirs, namespace: default, uid: p3}, spec: {nodeName: n2, serviceAccountName: default}}
---
{kind: PersistentVolumeClaim, metadata: {name: claim, namespace: default}, spec: {volumeName: pv}}
---
{kind: PersistentVolume, metadata: {name: pv}, spec: {csi: {driver: disks.example.com}}}
---
{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: csi.example.com}, spec: {tokenRequests: [{audience: csi}]}}
---
{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: disks.example.com}, spec: {tokenRequests: [{audience: disks}]}}
)";

TEST_CASE("NodeRestriction") {
  cluster c;
  c.put(basics);
  c.put(node_world);
  gate g(c);
  auto n1 = node("n1");
  auto node_with = [](std::string_view name, std::string_view more) {
    return "{apiVersion: v1, kind: Node, metadata: {name: " + std::string(name) + ", labels: {" + std::string(more) +
           "}}}";
  };
  CHECK(g.create(n1, node_with("n1", "kubernetes.io/hostname: n1, a.b/c: d, x.node.kubernetes.io/y: z")).good);
  CHECK(g.create(n1, node_with("n2", "")).message ==
        R"(nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2")");
  CHECK(
      g.create(n1, node_with("n1", "node-restriction.kubernetes.io/a: b, node-role.kubernetes.io/master: ''"))
          .message ==
      R"(nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: node-restriction.kubernetes.io/a, node-role.kubernetes.io/master)");
  CHECK(!g.update(n1, node_with("n1", "k8s.io/x: y"), node_with("n1", "")).good);
  CHECK(g.update(n1, node_with("n1", "k8s.io/x: y"), node_with("n1", "k8s.io/x: y")).good);
  CHECK(g.update(n1, "{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {taints: [{key: a}]}}",
                 node_with("n1", ""))
            .message == R"(nodes "n1" is forbidden: node "n1" is not allowed to modify taints)");
  // Its pods' addresses are given to it: by those that it took itself all other nodes would lead theirs to it.
  for (auto spec : {"podCIDR: 8.0.0.0/8", "podCIDRs: [8.0.0.0/8]"}) {
    auto ranged = "{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {" + std::string(spec) + "}}";
    CHECK(g.create(n1, ranged).message == R"(nodes "n1" is forbidden: node "n1" is not allowed to set podCIDRs)");
    CHECK(g.update(n1, ranged, node_with("n1", "")).message ==
          R"(nodes "n1" is forbidden: node "n1" is not allowed to set podCIDRs)");
    CHECK(g.update(n1, ranged, ranged).good);
  }
  auto mirror = [](std::string_view owner, std::string_view spec) {
    return "{apiVersion: v1, kind: Pod, metadata: {name: m, namespace: default, annotations: "
           "{kubernetes.io/config.mirror: x}, ownerReferences: [" +
           std::string(owner) + "]}, spec: {nodeName: " + std::string(spec) + "}}";
  };
  constexpr std::string_view owner = "{apiVersion: v1, kind: Node, name: n1, uid: u1, controller: true}";
  auto good = g.create(n1, mirror(owner, "n1"));
  CHECK_MESSAGE(good.good, good.message);
  CHECK(!g.create(n1, mirror(owner, "n2")).good);
  CHECK(!g.create(n1, mirror("", "n1")).good);
  CHECK(!g.create(n1, mirror("{apiVersion: v1, kind: Node, name: n1, uid: u2, controller: true}", "n1")).good);
  CHECK(!g.create(n1, mirror(owner, "n1, serviceAccountName: default")).good);
  CHECK(!g.create(n1, pod).good);
  constexpr std::string_view mine =
      "{apiVersion: v1, kind: Pod, metadata: {name: mine, namespace: default}, spec: {nodeName: n1}}";
  CHECK(g.remove(n1, mine).good);
  CHECK(!g.remove(node("n2"), mine).good);
  CHECK(g.update(n1, mine, mine, "status").good);
  CHECK(!g.update(node("n2"), mine, mine, "status").good);
  auto lease = [](std::string_view name) {
    return "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {namespace: kube-node-lease, name: " +
           std::string(name) + "}}";
  };
  CHECK(g.create(n1, lease("n1")).good);
  CHECK(!g.create(n1, lease("n2")).good);
}

// Who asks for a token, of which pod, for whom it is: and whether a node may.
TEST_CASE("NodeRestriction: tokens") {
  cluster c;
  c.put(basics);
  c.put(node_world);
  gate g(c);
  auto asks = ask(node("n1"), "create", "", "serviceaccounts/token", "default", "default");
  struct row {
    std::string spec;
    std::string refusal;  // empty: allowed
  };
  auto of = [](std::string_view pod, std::string_view uid, std::string_view audiences = "") {
    return "boundObjectRef: {apiVersion: v1, kind: Pod, name: " + std::string(pod) +
           (uid.empty() ? "" : ", uid: " + std::string(uid)) + "}" +
           (audiences.empty() ? "" : ", audiences: [" + std::string(audiences) + "]");
  };
  const row rows[] = {
      {of("mine", "p1"), ""},
      {of("mine", "p1", "vault"), ""},
      {of("mine", "p1", "csi"), ""},
      {of("mine", "p1", "disks"), ""},  // the claim's volume's driver
      {of("mine", "p1", "other"), R"(system:node:n1 is not authorized to request tokens for audience "other")"},
      {of("mine", "p1", "vault, csi"), "node may only request 0 or 1 audiences"},
      {of("silent", "p2"),
       R"(system:node:n1 is not authorized to request tokens for audience "")"},  // the pod mounts none
      {of("mine", "p2"),
       "the UID in the bound object reference (p2) does not match the UID in record. The object might have been "
       "deleted and then recreated"},
      {of("mine", ""), "node requested token with a pod binding without a uid"},
      {of("theirs", "p3"), "node requested token bound to a pod scheduled on a different node"},
      {"expirationSeconds: 31536000", "node requested token not bound to a pod"},
      {"boundObjectRef: {apiVersion: v1, kind: Node, name: n1, uid: u1}", "node requested token not bound to a pod"},
      {"boundObjectRef: {apiVersion: v1, kind: Secret, name: s}", "node requested token not bound to a pod"},
  };
  for (auto& r : rows) {
    CAPTURE(r.spec);
    auto request = yaml("{kind: TokenRequest, spec: {" + r.spec + "}}");
    auto got = g.run(operation::create, asks, &request);
    CHECK(got.good == r.refusal.empty());
    if (!r.refusal.empty()) CHECK(got.message == R"(serviceaccounts "default" is forbidden: )" + r.refusal);
  }
  // What a role grants the node beside.
  c.put(R"(
{kind: ClusterRole, metadata: {name: other}, rules: [{apiGroups: [''], resources: [other], verbs: [request-serviceaccounts-token-audience]}]}
---
{kind: ClusterRoleBinding, metadata: {name: other}, subjects: [{kind: Group, name: 'system:nodes'}], roleRef: {kind: ClusterRole, name: other}}
)");
  auto request = yaml("{kind: TokenRequest, spec: {" + of("mine", "p1", "other") + "}}");
  CHECK(g.run(operation::create, asks, &request).good);
}

TEST_CASE("NodeRestriction: mirror pods name nothing of the API") {
  cluster c;
  c.put(basics);
  c.put(node_world);
  gate g(c);
  auto mirror = [&](std::string_view spec) {
    return g.create(node("n1"),
                    "{apiVersion: v1, kind: Pod, metadata: {name: m, namespace: default, annotations: "
                    "{kubernetes.io/config.mirror: x}, ownerReferences: "
                    "[{apiVersion: v1, kind: Node, name: n1, uid: u1, controller: true}]}, spec: {nodeName: n1, " +
                        std::string(spec) + "}}");
  };
  for (auto harmless :
       {"volumes: [{name: v, hostPath: {path: /x}}]", "volumes: [{name: v, emptyDir: {}}]",
        "volumes: [{name: v, downwardAPI: {}}]", "volumes: [{name: v, projected: {sources: [{downwardAPI: {}}]}}]",
        "containers: [{name: c, env: [{name: A, value: b}]}]"}) {
    auto got = mirror(harmless);
    CHECK_MESSAGE(got.good, harmless << ": " << got.message);
  }
  const std::pair<std::string_view, std::string_view> named[] = {
      {"serviceAccountName: default", "serviceaccounts"},
      {"imagePullSecrets: [{name: s}]", "secrets"},
      {"containers: [{name: c, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]", "secrets"},
      {"initContainers: [{name: c, envFrom: [{secretRef: {name: s}}]}]", "secrets"},
      {"ephemeralContainers: [{name: c, envFrom: [{secretRef: {name: s}}]}]", "secrets"},
      {"ephemeralContainers: [{name: c, envFrom: [{configMapRef: {name: s}}]}]", "configmaps"},
      {"containers: [{name: c, env: [{name: A, valueFrom: {configMapKeyRef: {name: s, key: k}}}]}]", "configmaps"},
      {"resourceClaims: [{name: r, resourceClaimName: x}]", "resourceclaims"},
      {"resourceClaims: [{name: r, resourceClaimTemplateName: x}]", "resourceclaims"},
      {"volumes: [{name: v, secret: {secretName: s}}]", "secrets"},
      {"volumes: [{name: v, secret: {}}]", "secrets (via secret volumes)"},
      {"volumes: [{name: v, configMap: {name: s}}]", "configmaps"},
      {"volumes: [{name: v, csi: {driver: d}}]", "csidrivers (via CSI volumes)"},
      {"volumes: [{name: v, csi: {driver: d, nodePublishSecretRef: {name: s}}}]", "secrets"},
      {"volumes: [{name: v, glusterfs: {endpoints: e, path: p}}]", "endpoints (via glusterFS volumes)"},
      {"volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]", "persistentvolumeclaims"},
      {"volumes: [{name: v, ephemeral: {volumeClaimTemplate: {}}}]", "persistentvolumeclaims (via ephemeral volumes)"},
      {"volumes: [{name: v, azureFile: {secretName: s, shareName: x}}]", "secrets"},
      {"volumes: [{name: v, iscsi: {secretRef: {name: s}}}]", "secrets"},
      {"volumes: [{name: v, projected: {sources: [{downwardAPI: {}}, {secret: {name: s}}]}}]", "secrets"},
      {"volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]",
       "serviceaccounts (via projected volumes)"},
      {"volumes: [{name: v, projected: {sources: [{clusterTrustBundle: {name: t, path: p}}]}}]", "clustertrustbundles"},
      {"volumes: [{name: v, projected: {sources: [{podCertificate: {signerName: a/b}}]}}]", "podcertificates"},
  };
  for (auto& [spec, what] : named) {
    CAPTURE(spec);
    auto message = mirror(spec).message;
    // ServiceAccount, which comes first, has words of its own for some.
    const bool refused =
        message == R"(pods "m" is forbidden: node "n1" can not create pods that reference )" + std::string(what) ||
        message.starts_with(R"(pods "m" is forbidden: a mirror pod may not)");
    CHECK_MESSAGE(refused, message);
  }
  CHECK(mirror("volumes: [{name: v, ofTomorrow: {}}]").message ==
        R"(pods "m" is forbidden: error checking mirror pod for API references: unknown volume type for volume  "v")");
}

TEST_CASE("NodeRestriction: what a status may not change, and other nodes' things") {
  cluster c;
  c.put(basics);
  c.put(node_world);
  gate g(c);
  auto n1 = node("n1");
  auto own_pod = [](std::string_view more_meta, std::string_view status, std::string_view at = "n1") {
    return "{apiVersion: v1, kind: Pod, metadata: {name: mine, namespace: default" + std::string(more_meta) +
           "}, spec: {nodeName: " + std::string(at) + "}, status: {" + std::string(status) + "}}";
  };
  struct row {
    std::string_view meta, status, refusal;
  };
  const row rows[] = {
      {"", "phase: Running", ""},
      {", labels: {a: b}", "", "cannot update labels through pod status"},
      {"", "resourceClaimStatuses: [{name: x, resourceClaimName: victim}]", "cannot update resource claim statues"},
      {"", "extendedResourceClaimStatus: {resourceClaimName: victim}", "cannot update extended resource claim status"},
      {"", "nodeAllocatableResourceClaimStatuses: [{resourceClaimName: victim}]",
       "cannot update node allocatable resource claim statuses"},
  };
  for (auto& r : rows) {
    CAPTURE(r.status);
    auto got = g.update(n1, own_pod(r.meta, r.status), own_pod("", ""), "status");
    CHECK(got.good == r.refusal.empty());
    if (!r.refusal.empty()) CHECK(got.message == R"(pods "mine" is forbidden: node "n1" )" + std::string(r.refusal));
  }
  CHECK_FALSE(g.update(n1, own_pod("", "", "n2"), own_pod("", "", "n2"), "status").good);
  for (auto sub : {"binding", "ephemeralcontainers", "resize", "exec"})
    CHECK_FALSE(g.update(n1, own_pod("", ""), own_pod("", ""), sub).good);
  CHECK_FALSE(g.update(n1, own_pod("", ""), own_pod("", "")).good);
  auto evicts = ask(n1, "create", "", "pods/eviction", "default", "mine");
  auto eviction = yaml("{kind: Eviction, metadata: {name: mine}}");
  CHECK(g.run(operation::create, evicts, &eviction).good);
  evicts.name = "theirs";
  CHECK(g.run(operation::create, evicts, &eviction).message ==
        R"(pods "theirs" is forbidden: node n1 can only evict pods with spec.nodeName set to itself)");
  // Deletions are asked about too, whatever the kind.
  CHECK_FALSE(g.remove(n1, "{apiVersion: v1, kind: Node, metadata: {name: n2}}").good);
  CHECK_FALSE(
      g.remove(n1,
               "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: n2, namespace: kube-node-lease}}")
          .good);
  CHECK_FALSE(
      g.remove(n1, "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: n1, namespace: kube-system}}")
          .good);
  CHECK_FALSE(g.remove(n1, "{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: n2}}").good);
  CHECK_FALSE(
      g.remove(n1, "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: claim, namespace: default}}").good);
  auto slice = [](std::string_view at) {
    return "{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, metadata: {name: s}, spec: {nodeName: " +
           std::string(at) + "}}";
  };
  CHECK(g.create(n1, slice("n1")).good);
  CHECK_FALSE(g.create(n1, slice("n2")).good);
  CHECK(g.remove(n1, slice("n1")).good);
  CHECK_FALSE(g.remove(n1, slice("n2")).good);
  CHECK_FALSE(
      g.create(n1, "{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, metadata: {name: s}, spec: {allNodes: true}}")
          .good);
  // Of a claim only what the kubelet finds out.
  auto claim = [](std::string_view meta, std::string_view status) {
    return "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: claim, namespace: default" +
           std::string(meta) + "}, status: {" + std::string(status) + "}}";
  };
  CHECK(g.update(
             n1,
             claim("", "capacity: {storage: 2Gi}, conditions: [{type: Resizing}], allocatedResources: {storage: 2Gi}"),
             claim("", ""), "status")
            .good);
  CHECK_FALSE(g.update(n1, claim("", "phase: Bound"), claim("", ""), "status").good);
  CHECK_FALSE(g.update(n1, claim(", labels: {a: b}", ""), claim("", ""), "status").good);
  CHECK_FALSE(g.update(n1, claim("", ""), claim("", "")).good);
  // Its own Node.
  auto own = [](std::string_view more) {
    return "{apiVersion: v1, kind: Node, metadata: {name: n1" + std::string(more) + "}}";
  };
  CHECK_FALSE(g.update(n1, own(", ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u}]"), own("")).good);
  CHECK_FALSE(
      g.update(n1, "{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {configSource: {}}}", own("")).good);
  CHECK_FALSE(g.update(n1, own(", labels: {node-role.kubernetes.io/master: ''}"), own(""), "status").good);
}

TEST_CASE("NodeRestriction: certificates") {
  cluster c;
  c.put(basics);
  c.put(node_world);
  c.put(R"(
{kind: ServiceAccount, metadata: {name: robot, namespace: default, uid: s1}}
---
{kind: Pod, metadata: {name: certified, namespace: default, uid: p9}, spec: {nodeName: n1, serviceAccountName: robot,
  volumes: [{name: v, projected: {sources: [{podCertificate: {signerName: example.com/a}}]}}]}}
)");
  gate g(c);
  auto pcr = [&](std::string_view changed = "") {
    auto object = yaml(
        "{apiVersion: certificates.k8s.io/v1, kind: PodCertificateRequest, metadata: {name: r, namespace: default}, "
        "spec: {signerName: example.com/a, podName: certified, "
        "podUID: p9, serviceAccountName: robot, serviceAccountUID: s1, nodeName: n1, nodeUID: u1}}");
    if (!changed.empty()) {
      auto eq = changed.find('=');
      object.member("spec").set(changed.substr(0, eq), changed.substr(eq + 1));
    }
    return g.run(operation::create,
                 ask(node("n1"), "create", "certificates.k8s.io", "podcertificaterequests", "default", "r"), &object);
  };
  auto good = pcr();
  CHECK_MESSAGE(good.good, good.message);
  for (auto changed : {"nodeName=n2", "nodeUID=x", "podName=mine", "podUID=x", "serviceAccountName=default",
                       "serviceAccountUID=x", "signerName=example.com/b"})
    CHECK_FALSE(pcr(changed).good);
}

TEST_CASE("a pod's certificate request is answered by who may sign for its signer, whatever plugins are off") {
  cluster c;
  c.put(basics);
  c.put(R"(
{kind: ClusterRole, metadata: {name: signer}, rules: [{apiGroups: [certificates.k8s.io], resources: [signers], resourceNames: ["example.com/a", "example.org/*"], verbs: [sign]}]}
---
{kind: ClusterRoleBinding, metadata: {name: signers}, subjects: [{kind: User, name: ann}], roleRef: {kind: ClusterRole, name: signer}}
)");
  gate g(c, {.disable = {"CertificateSigning"}});
  auto request = [](std::string_view signer, std::string_view status) {
    return fmt::format(
        "{{apiVersion: certificates.k8s.io/v1, kind: PodCertificateRequest, metadata: {{name: r, namespace: default}}, "
        "spec: {{signerName: {}}}, status: {}}}",
        signer, status);
  };
  auto answer = [&](std::string_view who, std::string_view signer, std::string_view status) {
    return g.update(user(std::string(who)), request(signer, status), request(signer, "{}"), "status");
  };
  for (auto status : {"{certificateChain: x}", "{conditions: [{type: Denied, status: 'True'}]}"}) {
    CAPTURE(status);
    CHECK(answer("ann", "example.com/a", status).good);
    CHECK(answer("ann", "example.org/any", status).good);
    CHECK(
        answer("ann", "example.com/b", status).message ==
        R"(PodCertificateRequest.certificates.k8s.io "r" is invalid: spec.signerName: Forbidden: User "ann" is not permitted to "sign" for signer "example.com/b")");
    CHECK_FALSE(answer("bob", "example.com/a", status).good);
    CHECK(answer("bob", "example.com/a", "{}").good);
    // By the signer that it was made for.
    CHECK_FALSE(g.update(user("ann"), request("example.com/a", status), request("example.com/b", "{}"), "status").good);
  }
}

TEST_CASE("PodSecurity: probes and hooks of other hosts, since 1.34") {
  cluster c;
  c.put(basics);
  c.put("{kind: Namespace, metadata: {name: base, labels: {pod-security.kubernetes.io/enforce: baseline}}}");
  c.put(
      "{kind: Namespace, metadata: {name: older, labels: {pod-security.kubernetes.io/enforce: baseline, "
      "pod-security.kubernetes.io/enforce-version: v1.33}}}");
  gate g(c);
  auto with = [&](std::string_view ns, std::string_view in_container) {
    return g.create(admin(), "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: " + std::string(ns) +
                                 "}, spec: {serviceAccountName: default, containers: [{name: c, " +
                                 std::string(in_container) + "}]}}");
  };
  c.put(
      "{kind: ServiceAccount, metadata: {name: default, namespace: base}}\n---\n{kind: ServiceAccount, metadata: "
      "{name: default, namespace: older}}");
  for (auto bad : {"livenessProbe: {httpGet: {host: 169.254.169.254, port: 80}}",
                   "readinessProbe: {tcpSocket: {host: 169.254.169.254, port: 80}}",
                   "startupProbe: {httpGet: {host: 169.254.169.254, port: 80}}",
                   "lifecycle: {postStart: {httpGet: {host: 169.254.169.254, port: 80}}}",
                   "lifecycle: {preStop: {tcpSocket: {host: 169.254.169.254, port: 80}}}"}) {
    CHECK(
        with("base", bad).message ==
        R"(pods "p" is forbidden: violates PodSecurity "baseline:latest": probe or lifecycle host (container "c" uses probe or lifecycle host "169.254.169.254"))");
    CHECK(with("older", bad).good);
  }
  CHECK(with("base", "livenessProbe: {httpGet: {port: 80}}").good);
}

TEST_CASE("PodSecurity: an update is judged when it has the pod run something else") {
  cluster c;
  c.put(basics);
  gate g(c);
  auto bad = [](std::string_view image, std::string_view more = "") {
    return "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: strict}, spec: {hostNetwork: true, " +
           std::string(more) + "containers: [{name: c, image: " + std::string(image) + "}]}}";
  };
  CHECK(g.update(admin(), bad("a", "tolerations: [{key: x}], "), bad("a")).good);
  CHECK_FALSE(g.update(admin(), bad("b"), bad("a")).good);
}

// Accounts that say so limit what their pods may name. Messages are upstream's.
TEST_CASE("PodSecurity: defaults and exemptions of a configuration") {
  auto read = [&](std::string_view plugins) {
    return parse_admission(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n" + std::string(plugins), "");
  };
  auto configured = read(R"(
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, enforce-version: v1.33}
    exemptions: {namespaces: [free], usernames: [root], runtimeClasses: [vm]}
)");
  REQUIRE_MESSAGE(configured.has_value(), (configured ? std::string() : configured.error().message));
  cluster c;
  c.put(R"(
{kind: Namespace, metadata: {name: plain}, status: {phase: Active}}
---
{kind: Namespace, metadata: {name: free}, status: {phase: Active}}
---
{kind: Namespace, metadata: {name: said, labels: {pod-security.kubernetes.io/enforce: privileged}}, status: {phase: Active}}
)");
  rule_source* rules = nullptr;
  auto authz = make_authorizer(&rules);
  admission_settings settings{.enable = {}, .disable = {"ServiceAccount"}, .configuration = *configured};
  auto chain = admission_chain::create(settings, *authz, *rules, nullptr);
  REQUIRE(chain.has_value());
  auto refused_in = [&](std::string ns, std::string who = "ann", std::string extra = "") {
    auto pod = yaml("{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: " + ns + "}, spec: {hostNetwork: true" +
                    extra + ", containers: [{name: c, image: i}]}}");
    const auto asked = ask(user(std::move(who)), "create", "", "pods", ns, "p");
    admission_request r{.what = operation::create, .who = asked, .kind = "Pod", .object = &pod};
    auto done = c.loop.run_until((*chain)->validate(r, c.now()));
    return done ? std::string() : done.error().message;
  };
  CHECK(refused_in("plain").find("violates PodSecurity \"baseline:v1.33\"") != std::string::npos);
  CHECK(refused_in("said") == "");
  CHECK(refused_in("free") == "");
  CHECK(refused_in("plain", "root") == "");
  CHECK(refused_in("plain", "ann", ", runtimeClassName: vm").find("PodSecurity") == std::string::npos);
  CHECK(read("- {name: Nonsense}").error().message.find("plugin \"Nonsense\" is unknown") != std::string::npos);
  CHECK(read("- {name: PodSecurity, configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: "
             "PodSecurityConfiguration, defaults: {enforce: strict}}}")
            .error()
            .message ==
        "plugins[0].configuration: defaults.enforce: Invalid value: \"strict\": must be one of privileged, "
        "baseline, restricted");
}

TEST_CASE("enforce-mountable-secrets") {
  cluster c;
  c.put(basics);
  c.put(
      "{kind: ServiceAccount, metadata: {name: tight, namespace: default, annotations: "
      "{kubernetes.io/enforce-mountable-secrets: 'true'}}, secrets: [{name: mine}], imagePullSecrets: [{name: pull}]}");
  gate g(c);
  auto with = [&](std::string_view spec) {
    return "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {serviceAccountName: tight, " +
           std::string(spec) + "}}";
  };
  struct row {
    std::string_view spec, refusal;
  };
  const row rows[] = {
      {"containers: [{name: c, env: [{name: E, valueFrom: {secretKeyRef: {name: mine, key: k}}}]}]", ""},
      {"volumes: [{name: v, secret: {secretName: mine}}]", ""},
      {"volumes: [{name: v, secret: {secretName: other}}]",
       R"(volume with secret.secretName="other" is not allowed because service account tight does not reference that secret)"},
      {"containers: [{name: c, env: [{name: E, valueFrom: {secretKeyRef: {name: other, key: k}}}]}]",
       R"(container c with envVar E referencing secret.secretName="other" is not allowed because service account tight does not reference that secret)"},
      {"containers: [{name: c, envFrom: [{secretRef: {name: other}}]}]",
       R"(container c with envFrom referencing secret.secretName="other" is not allowed because service account tight does not reference that secret)"},
      {"initContainers: [{name: i, envFrom: [{secretRef: {name: other}}]}]",
       R"(init container i with envFrom referencing secret.secretName="other" is not allowed because service account tight does not reference that secret)"},
      {"imagePullSecrets: [{name: pull}]", ""},
      {"imagePullSecrets: [{name: other}]",
       R"(imagePullSecrets[0].name="other" is not allowed because service account tight does not reference that imagePullSecret)"},
  };
  for (auto& r : rows) {
    CAPTURE(r.spec);
    auto got = g.create(admin(), with(r.spec));
    CHECK(got.good == r.refusal.empty());
    if (!r.refusal.empty()) CHECK(got.message == R"(pods "p" is forbidden: )" + std::string(r.refusal));
  }
  auto debug = [&](std::string_view secret) {
    return with("ephemeralContainers: [{name: e, envFrom: [{secretRef: {name: " + std::string(secret) + "}}]}]");
  };
  CHECK(g.update(admin(), debug("mine"), with("containers: []"), "ephemeralcontainers").good);
  CHECK_FALSE(g.update(admin(), debug("other"), with("containers: []"), "ephemeralcontainers").good);
}

TEST_CASE("PodSecurity") {
  cluster c;
  c.put(basics);
  gate g(c);
  auto refused = g.create(admin(),
                          "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: strict}, spec: {hostNetwork: "
                          "true, containers: [{name: c, securityContext: {privileged: true}}]}}");
  CHECK(
      refused.message ==
      R"(pods "p" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true), privileged (container "c" must not set securityContext.privileged=true), allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"))");
  auto good = g.create(admin(), R"(
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: strict}, spec: {securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}},
 containers: [{name: c, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}})");
  CHECK_MESSAGE(good.good, good.message);
  CHECK(good.warnings.empty());
  auto workload = g.create(admin(), R"(
{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: strict}, spec: {template: {spec: {containers: [{name: c}]}}}})");
  CHECK(workload.good);
  REQUIRE(workload.warnings.size() == 1);
  CHECK(workload.warnings[0].starts_with("would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation"));
  CHECK(
      g.create(
           admin(),
           "{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {pod-security.kubernetes.io/enforce: high}}}")
          .why.code == 422);
}

TEST_CASE("certificate requests") {
  cluster c;
  c.put(basics);
  gate g(c);
  auto request_of = [](std::string name, std::string group) {
    auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
    REQUIRE(key.has_value());
    crypto::request_options o;
    o.common_name = std::move(name);
    o.organizations = {std::move(group)};
    auto der = crypto::make_request(*key, o);
    REQUIRE(der.has_value());
    return base64(as_bytes(crypto::request_pem(as_bytes(*der))));
  };
  auto csr = [](std::string_view signer, const std::string& request) {
    return "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: r}, spec: "
           "{signerName: " +
           std::string(signer) + ", request: " + request + "}}";
  };
  CHECK(g.create(admin(), csr("kubernetes.io/kube-apiserver-client", request_of("x", "system:masters")))
            .message.ends_with(
                "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"));
  CHECK(g.create(admin(), csr("kubernetes.io/kube-apiserver-client", request_of("x", "dev"))).good);
  CHECK(g.create(node("n1"),
                 csr("kubernetes.io/kube-apiserver-client-kubelet", request_of("system:node:n1", "system:nodes")))
            .good);
  CHECK(!g.create(node("n1"),
                  csr("kubernetes.io/kube-apiserver-client-kubelet", request_of("system:node:n2", "system:nodes")))
             .good);
  auto text = csr("example.com/a", "");
  auto refused = g.update(user("ann"), text, text, "approval");
  CHECK(
      refused.message ==
      R"(certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with signerName "example.com/a")");
  c.put(R"(
{kind: ClusterRole, metadata: {name: approver}, rules: [{apiGroups: [certificates.k8s.io], resources: [signers], resourceNames: ["example.com/*"], verbs: [approve]}]}
---
{kind: ClusterRoleBinding, metadata: {name: approvers}, subjects: [{kind: User, name: ann}], roleRef: {kind: ClusterRole, name: approver}}
)");
  CHECK(g.update(user("ann"), text, text, "approval").good);
}

TEST_CASE("DenyServiceExternalIPs: no new ones, when it is on") {
  cluster c;
  c.put(basics);
  auto service = [](std::string_view ips) {
    return fmt::format(
        "{{kind: Service, apiVersion: v1, metadata: {{name: s, namespace: default}}, spec: {{ports: [{{port: 80}}], "
        "externalIPs: [{}]}}}}",
        ips);
  };
  constexpr std::string_view denied =
      R"(services "s" is forbidden: Use of external IPs is denied by admission control)";
  gate off(c), on(c, {.enable = {"DenyServiceExternalIPs"}});
  CHECK(off.create(admin(), service("192.0.2.1")).good);
  CHECK(on.create(admin(), service("")).good);
  CHECK(on.create(admin(), service("192.0.2.1")).message == denied);
  CHECK(on.update(admin(), service("192.0.2.1, 192.0.2.2"), service("192.0.2.1")).message == denied);
  CHECK(on.update(admin(), service("192.0.2.1"), service("192.0.2.1, 192.0.2.2")).good);
}

TEST_CASE("plugins are turned on and off by name") {
  cluster c;
  c.put(basics);
  CHECK(!check_plugin_names({"Nope"}).has_value());
  CHECK(check_plugin_names({"ValidatingAdmissionWebhook", "PodSecurity"}).has_value());
  gate g(c, {.enable = {"NodeRestriction", "AlwaysPullImages"},
             .disable = {"ServiceAccount", "DefaultTolerationSeconds"}});
  auto made = g.create(admin(), pod);
  REQUIRE(made.good);
  CHECK(made.object["spec"]["serviceAccountName"].is_null());
  CHECK(made.object["spec"]["tolerations"].is_null());
  CHECK(made.object["spec"]["containers"][std::size_t{0}]["imagePullPolicy"].as_string() == "Always");
  CHECK(g.chain().names().back() == "ResourceQuota");
}

}  // namespace
}  // namespace kedge::api
