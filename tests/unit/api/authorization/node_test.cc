#include "api/authorization/node.h"

#include <fmt/format.h>
#include <ctime>

#include "../access_harness.h"

namespace kedge::api {
namespace {

using namespace testing;

constexpr std::string_view world = R"(
kind: Pod
metadata: {name: p, namespace: default, uid: pod-1}
spec:
  nodeName: n1
  serviceAccountName: robot
  imagePullSecrets: [{name: pull}]
  initContainers: [{name: i, envFrom: [{secretRef: {name: init-env}}]}]
  containers:
  - name: c
    env: [{name: A, valueFrom: {secretKeyRef: {name: env, key: k}}}, {name: B, valueFrom: {configMapKeyRef: {name: env-map, key: k}}}]
  volumes:
  - {name: a, secret: {secretName: vol}}
  - {name: b, configMap: {name: vol-map}}
  - {name: c, projected: {sources: [{secret: {name: projected}}, {configMap: {name: projected-map}}]}}
  - {name: d, persistentVolumeClaim: {claimName: claim}}
  - {name: e, ephemeral: {}}
  resourceClaims: [{name: templated, resourceClaimTemplateName: t}]
status:
  resourceClaimStatuses: [{name: templated, resourceClaimName: made}, {name: other, resourceClaimName: victim}]
  extendedResourceClaimStatus: {resourceClaimName: extended}
---
kind: PodCertificateRequest
metadata: {name: request, namespace: default}
spec: {nodeName: n1}
---
kind: Pod
metadata: {name: mirror, namespace: default, annotations: {kubernetes.io/config.mirror: x}}
spec: {nodeName: n1, serviceAccountName: stolen, volumes: [{name: a, secret: {secretName: stolen}}]}
---
kind: PersistentVolumeClaim
metadata: {name: claim, namespace: default}
spec: {volumeName: pv}
---
kind: PersistentVolume
metadata: {name: foreign}
spec: {claimRef: {namespace: default, name: claim}, csi: {driver: x, nodePublishSecretRef: {name: foreign, namespace: storage}}}
---
kind: PersistentVolume
metadata: {name: pv}
spec: {claimRef: {namespace: default, name: claim}, csi: {driver: x, nodePublishSecretRef: {name: csi, namespace: storage}}}
---
kind: VolumeAttachment
metadata: {name: va}
spec: {nodeName: n1}
)";

TEST_CASE("the Node authorizer's table") {
  cluster c;
  c.put(world);
  node_authorizer authz;
  auto n1 = node("n1"), n2 = node("n2");
  constexpr std::string_view unrelated = "no relationship found between node 'n2' and this object";
  struct row {
    attributes asked;
    bool allowed;
    std::string_view reason = {};
  };
  const row table[] = {
      {ask(n1, "get", "", "secrets", "default", "pull"), true},
      {ask(n1, "get", "", "secrets", "default", "init-env"), true},
      {ask(n1, "get", "", "secrets", "default", "env"), true},
      {ask(n1, "watch", "", "secrets", "default", "vol"), true},
      {ask(n1, "list", "", "secrets", "default", "projected"), true},
      {ask(n1, "get", "", "secrets", "default", "other"), false,
       "no relationship found between node 'n1' and this object"},
      {ask(n1, "get", "", "secrets", "default", "stolen"), false},
      {ask(n1, "get", "", "secrets", "other", "vol"), false},
      {ask(n1, "list", "", "secrets", "default"), false, "No Object name found"},
      {ask(n1, "list", "", "secrets"), false, "can only read namespaced object of this type"},
      {ask(n1, "update", "", "secrets", "default", "vol"), false, "can only read resources of this type"},
      {ask(n2, "get", "", "secrets", "default", "vol"), false, unrelated},
      {ask(n1, "get", "", "secrets", "storage", "csi"), true},
      {ask(n2, "get", "", "secrets", "storage", "csi"), false},
      {ask(n1, "get", "", "secrets", "storage", "foreign"), false},  // the claim is another volume's
      {ask(n1, "get", "", "configmaps", "default", "env-map"), true},
      {ask(n1, "get", "", "configmaps", "default", "vol-map"), true},
      {ask(n1, "get", "", "configmaps", "default", "projected-map"), true},
      {ask(n1, "get", "", "configmaps", "default", "x"), false},
      {ask(n1, "get", "", "persistentvolumeclaims", "default", "claim"), true},
      {ask(n1, "get", "", "persistentvolumeclaims", "default", "p-e"), true},
      {ask(n1, "list", "", "persistentvolumeclaims", "default"), false,
       "can only get individual resources of this type"},
      {ask(n1, "patch", "", "persistentvolumeclaims/status", "default", "claim"), true},
      {ask(n1, "get", "", "persistentvolumes", "", "pv"), true},
      {ask(n2, "get", "", "persistentvolumes", "", "pv"), false},
      {ask(n1, "get", "storage.k8s.io", "volumeattachments", "", "va"), true},
      {ask(n2, "get", "storage.k8s.io", "volumeattachments", "", "va"), false},
      {ask(n1, "create", "", "serviceaccounts/token", "default", "robot"), true},
      {ask(n1, "create", "", "serviceaccounts/token", "default", "stolen"), false},
      {ask(n1, "create", "", "serviceaccounts/token", "default", "default"), false},
      {ask(n2, "create", "", "serviceaccounts/token", "default", "robot"), false},
      {ask(n1, "get", "", "pods", "default", "p"), true},
      {ask(n2, "get", "", "pods", "default", "p"), false, unrelated},
      {ask(n1, "list", "", "pods"), false, "can only list/watch pods with spec.nodeName field selector"},
      {ask(n1, "create", "", "pods", "default"), true},
      {ask(n1, "delete", "", "pods", "default", "p"), true},
      {ask(n1, "patch", "", "pods", "default", "p"), false},
      {ask(n1, "patch", "", "pods/status", "default", "p"), true},
      {ask(n1, "create", "", "pods/eviction", "default", "p"), true},
      {ask(n1, "create", "", "pods/exec", "default", "p"), false},
      {ask(n1, "get", "", "nodes", "", "n1"), true},
      {ask(n1, "get", "", "nodes", "", "n2"), false, "node 'n1' cannot read 'n2', only its own Node object"},
      {ask(n1, "list", "", "nodes"), false},
      {ask(n1, "create", "", "nodes"), true},
      {ask(n1, "patch", "", "nodes/status", "", "n1"), true},
      {ask(n1, "delete", "", "nodes", "", "n1"), false},
      {ask(n1, "update", "coordination.k8s.io", "leases", "kube-node-lease", "n1"), true},
      {ask(n1, "update", "coordination.k8s.io", "leases", "kube-node-lease", "n2"), false},
      {ask(n1, "create", "coordination.k8s.io", "leases", "kube-node-lease"), true},
      {ask(n1, "get", "coordination.k8s.io", "leases", "kube-system", "n1"), false},
      {ask(n1, "get", "storage.k8s.io", "csinodes", "", "n1"), true},
      {ask(n1, "get", "storage.k8s.io", "csinodes", "", "n2"), false},
      {ask(n1, "watch", "", "services"), true},
      {ask(n1, "create", "", "services", "default"), false},
      {ask(n1, "patch", "", "events", "default", "e"), true},
      {ask(n1, "list", "node.k8s.io", "runtimeclasses"), true},
      {ask(n1, "list", "storage.k8s.io", "csidrivers"), true},
      {ask(n1, "create", "certificates.k8s.io", "certificatesigningrequests"), true},
      {ask(n1, "create", "authentication.k8s.io", "tokenreviews"), true},
      {ask(n1, "list", "apps", "deployments"), false},
      {ask(n1, "patch", "events.k8s.io", "events", "default", "e"), true},
      {ask(n1, "watch", "certificates.k8s.io", "clustertrustbundles"), true},
      {ask(n1, "create", "certificates.k8s.io", "clustertrustbundles"), false},
      {ask(n1, "create", "certificates.k8s.io", "podcertificaterequests", "default"),
       true},  // for which pod: admission's business
      {ask(n1, "get", "certificates.k8s.io", "podcertificaterequests", "default", "request"), true},
      {ask(n2, "get", "certificates.k8s.io", "podcertificaterequests", "default", "request"), false},
      {ask(n1, "list", "certificates.k8s.io", "podcertificaterequests"), false,
       "can only list/watch podcertificaterequests with nodeName field selector"},
      {ask(n1, "update", "certificates.k8s.io", "podcertificaterequests/status", "default", "request"), false},
      {ask(n1, "delete", "certificates.k8s.io", "podcertificaterequests", "default", "request"), false,
       "nodes may not delete podcertificaterequests"},
      {ask(n1, "get", "", "serviceaccounts", "default", "robot"), true},
      {ask(n2, "get", "", "serviceaccounts", "default", "robot"), false},
      {ask(n1, "patch", "", "persistentvolumeclaims/status", "default", "claim"), true},
      {ask(n1, "get", "", "persistentvolumeclaims/status", "default", "claim"), false},
      // A claim's name in the status counts only beside the template in the spec.
      {ask(n1, "get", "resource.k8s.io", "resourceclaims", "default", "made"), true},
      {ask(n1, "get", "resource.k8s.io", "resourceclaims", "default", "extended"), true},
      {ask(n1, "get", "resource.k8s.io", "resourceclaims", "default", "victim"), false},
      {ask(user("system:node:n1"), "get", "", "nodes", "", "n1"), false},  // not of system:nodes
      {ask(user("ann", {"system:nodes"}), "get", "", "nodes", "", "ann"), false},
  };
  for (auto& r : table) {
    CAPTURE(r.asked.user->name);
    CAPTURE(r.asked.verb);
    CAPTURE(r.asked.resource + "/" + r.asked.subresource + " " + r.asked.ns + " " + r.asked.name);
    auto d = authz.authorize(r.asked, c.now());
    CHECK((d.what == decision::kind::allow) == r.allowed);
    if (!r.reason.empty()) CHECK(d.reason == r.reason);
  }
  // What is selected, not what the text looks like.
  struct selection {
    const char *resource, *selector;
    bool allowed;
  };
  for (auto& r :
       {selection{"pods", "spec.nodeName=n1", true}, selection{"pods", "spec.nodeName==n1,status.phase!=Failed", true},
        selection{"pods", "spec.nodeName!=n1", false}, selection{"pods", "spec.nodeName=n2", false},
        selection{"pods", "", false}, selection{"pods", R"(metadata.name!=x\,spec.nodeName\=n1)", false},
        selection{"pods", R"(spec.nodeName!=x\,spec.nodeName\=n1)", false},
        selection{"nodes", R"(metadata.name!=x\,metadata.name\=n1)", false},
        selection{"resourceslices", R"(spec.driver!=x\,spec.nodeName\=n1)", false},
        selection{"resourceslices", "spec.nodeName=n1", true},
        selection{"podcertificaterequests", "spec.nodeName=n1", true},
        selection{"podcertificaterequests", "spec.podName=n1", false}}) {
    CAPTURE(r.selector);
    for (auto verb : {"list", "watch"}) {
      auto asked = ask(n1, verb,
                       r.resource == std::string_view("resourceslices")           ? "resource.k8s.io"
                       : r.resource == std::string_view("podcertificaterequests") ? "certificates.k8s.io"
                                                                                  : "",
                       r.resource);
      asked.fields = *field_selector::parse(r.selector);
      CHECK((authz.authorize(asked, c.now()).what == decision::kind::allow) == r.allowed);
    }
  }
}

TEST_CASE("what a pod names follows the pod") {
  cluster c;
  node_authorizer authz;
  auto asked = ask(node("n1"), "get", "", "secrets", "default", "s");
  auto allowed = [&] { return authz.authorize(asked, c.now()).what == decision::kind::allow; };
  CHECK(!allowed());
  c.put("{kind: Pod, metadata: {name: p, namespace: default}, spec: {imagePullSecrets: [{name: s}]}}");
  CHECK(!allowed());  // not bound yet
  c.put("{kind: Pod, metadata: {name: p, namespace: default}, spec: {nodeName: n1, imagePullSecrets: [{name: s}]}}");
  CHECK(allowed());
  c.put("{kind: Pod, metadata: {name: a, namespace: default}, spec: {nodeName: n2}}");
  CHECK(allowed());
  c.remove("/registry/pods/default/p");
  CHECK(!allowed());
}

// Each kubelet asks again and again, and something has changed each time: what hangs on other nodes must not be looked
// at.
TEST_CASE("a question about a node costs what hangs on that node") {
  auto cost = [](int others) {
    cluster c;
    node_authorizer authz;
    for (int i = 0; i < others; ++i) {
      c.put(
          fmt::format("{{kind: Pod, metadata: {{name: p{0}, namespace: default}}, spec: {{nodeName: other, "
                      "imagePullSecrets: [{{name: s{0}}}]}}}}",
                      i));
      c.put(
          fmt::format("{{kind: PersistentVolume, metadata: {{name: v{0}}}, spec: {{claimRef: {{namespace: default, "
                      "name: c{0}}}}}}}",
                      i));
    }
    c.put(
        "{kind: Pod, metadata: {name: own, namespace: default}, spec: {nodeName: n1, imagePullSecrets: [{name: s}]}}");
    auto thread_time = [] {
      timespec t{};
      ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
      return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
    };
    auto least = std::chrono::nanoseconds::max();
    for (int i = 0; i < 20; ++i) {
      c.put(
          fmt::format("{{kind: Pod, metadata: {{name: p0, namespace: default}}, spec: {{nodeName: other, "
                      "imagePullSecrets: [{{name: s{}}}]}}}}",
                      i));
      auto asked = ask(node("n1"), "get", "", "secrets", "default", "none");
      auto began = thread_time();
      CHECK(authz.authorize(asked, c.now()).what != decision::kind::allow);
      least = std::min<std::chrono::nanoseconds>(least, thread_time() - began);
    }
    return least;
  };
  auto few = cost(10), many = cost(2'000);
  CHECK_MESSAGE(many < few * 10 + std::chrono::microseconds(20),
                "among 10 pods and volumes of others " << few.count() << " ns, among 2,000 " << many.count());
}

}  // namespace
}  // namespace kedge::api
