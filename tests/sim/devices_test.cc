// Claims of devices as they run: two leaders at a time, which stop between any two writes.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <chrono>
#include <set>
#include <string>

#include "control_world.h"

using namespace kedge;
using namespace kedge::sim;

namespace {

const api::resource_id pods{"", "v1", "pods"};
const api::resource_id templates{"resource.k8s.io", "v1", "resourceclaimtemplates"};
const api::resource_id nodes{"", "v1", "nodes"};
const api::resource_id slices{"resource.k8s.io", "v1", "resourceslices"};
const api::resource_id classes{"resource.k8s.io", "v1", "deviceclasses"};
const api::resource_id taint_rules{"resource.k8s.io", "v1", "devicetaintrules"};
const api::resource_id claim_resource{"resource.k8s.io", "v1", "resourceclaims"};
const api::resource_id roles{"rbac.authorization.k8s.io", "v1", "clusterroles"};
const api::resource_id role_bindings{"rbac.authorization.k8s.io", "v1", "clusterrolebindings"};
constexpr std::string_view claims = "/registry/resourceclaims/default/";

}  // namespace

TEST_CASE("resourceclaim-controller: each pod's claim is told to it, by either leader, and goes with the pod's end") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"resourceclaim-controller"}});
    c.grant("resource-claim-controller",
            "{apiGroups: [resource.k8s.io], resources: [resourceclaims/binding], verbs: [update, patch]}");
    c.crash_between_writes(0.05);
    c.create(
        templates,
        yaml("{kind: ResourceClaimTemplate, apiVersion: resource.k8s.io/v1, metadata: {name: t, namespace: default}, "
             "spec: {spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu}}]}}}}"));
    for (int i = 0; i < 4; ++i)
      c.create(pods, yaml(fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: p{}, namespace: default}}, spec: "
                                      "{{containers: [{{name: c, image: i}}], resourceClaims: [{{name: gpu, "
                                      "resourceClaimTemplateName: t}}]}}}}",
                                      i)));
    auto told = [&](int i) {
      auto pod = c.get(fmt::format("/registry/pods/default/p{}", i));
      auto name = pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_string();
      return !name.empty() && c.exists(std::string(claims) + std::string(name));
    };
    CHECK(c.until([&] { return told(0) && told(1) && told(2) && told(3); }));
    c.set_status(pods, "default", "p0", [](json::value& v) { v.member("status").set("phase", "Succeeded"); });
    CHECK(c.until([&] {
      for (auto& [_, one] : c.all(claims))
        if (one["metadata"]["ownerReferences"][0]["name"].as_string() == "p0") return false;
      return true;
    }));
    CHECK(told(1));
  }
}

TEST_CASE(
    "scheduler: no device is given twice, and no pod has its node before its devices, whichever leader ends when") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"resourceclaim-controller"}, .schedules = true});
    c.lead(1, false);
    c.create(roles,
             yaml("{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: scheduler}, rules: "
                  "[{apiGroups: [resource.k8s.io], resources: [resourceclaims/binding], verbs: [update, patch]}]}"));
    c.create(
        role_bindings,
        yaml("{kind: ClusterRoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: scheduler}, "
             "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scheduler}, subjects: [{kind: "
             "User, name: 'system:kube-scheduler', apiGroup: rbac.authorization.k8s.io}]}"));
    c.create(classes, yaml("{kind: DeviceClass, apiVersion: resource.k8s.io/v1, metadata: {name: gpu}, spec: {}}"));
    constexpr int machines = 3, wanting = 8, devices = 6;
    for (int i = 0; i < machines; ++i) {
      c.create(nodes, yaml(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: n{}}}}}", i)));
      // Admission taints what isn't ready yet.
      c.change(nodes, "", fmt::format("n{}", i), [](json::value& v) { v.member("spec").erase("taints"); });
      c.set_status(nodes, "", fmt::format("n{}", i), [](json::value& v) {
        v.member("status").set("allocatable", yaml("{cpu: '4', memory: 8Gi, pods: '110'}"));
      });
      c.create(slices,
               yaml(fmt::format("{{kind: ResourceSlice, apiVersion: resource.k8s.io/v1, metadata: {{name: s{0}}}, "
                                "spec: {{driver: gpu.example.com, nodeName: n{0}, pool: {{name: n{0}, generation: "
                                "1, resourceSliceCount: 1}}, devices: [{{name: a}}, {{name: b}}]}}}}",
                                i)));
    }
    for (int i = 0; i < wanting; ++i) {
      c.create(
          claim_resource,
          yaml(fmt::format("{{kind: ResourceClaim, apiVersion: resource.k8s.io/v1, metadata: {{name: c{}, namespace: "
                           "default}}, spec: {{devices: {{requests: [{{name: r, exactly: {{deviceClassName: "
                           "gpu}}}}]}}}}}}",
                           i)));
      c.create(pods,
               yaml(fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: p{0}, namespace: default}}, spec: "
                                "{{containers: [{{name: c, image: i}}], resourceClaims: [{{name: gpu, "
                                "resourceClaimName: c{0}}}]}}}}",
                                i)));
    }
    auto node_of = [&](int i) {
      return std::string(c.get(fmt::format("/registry/pods/default/p{}", i))["spec"]["nodeName"].as_string());
    };
    // What must hold at any moment; gives how many pods have their node.
    auto placed = [&] {
      std::set<std::string> given;
      int out = 0;
      for (int i = 0; i < wanting; ++i) {
        auto claim = c.get(fmt::format("{}c{}", claims, i));
        auto& result = claim["status"]["allocation"]["devices"]["results"][0];
        auto device = fmt::format("{}/{}", result["pool"].as_string(), result["device"].as_string());
        if (result.is_object()) CHECK_MESSAGE(given.insert(device).second, device);
        auto node = node_of(i);
        if (node.empty()) continue;
        ++out;
        CHECK(result["pool"].as_string() == node);
        CHECK(claim["status"]["reservedFor"].size() == 1);
      }
      return out;
    };
    // Three times the one who leads loses its power, wherever it is, and the other one leads when its words have
    // settled.
    for (int turn = 0; turn < 3; ++turn) {
      const int leader = turn % 2;
      c.run_for(c.w.between(std::chrono::milliseconds(0), std::chrono::milliseconds(400)));
      placed();
      if (c.runs(leader)) c.server(leader).crash();
      c.lead(leader, false);
      c.server(leader).restart();
      c.run_for(std::chrono::seconds(1));
      c.lead(1 - leader, true);
    }
    CHECK(c.until([&] { return placed() == devices; }));
    // A user that ends gives its device to one that waits.
    for (int i = 0, ended = 0; i < wanting && ended < 2; ++i) {
      if (node_of(i).empty()) continue;
      ++ended;
      c.set_status(pods, "default", fmt::format("p{}", i),
                   [](json::value& v) { v.member("status").set("phase", "Failed"); });
    }
    c.grant("resource-claim-controller",
            "{apiGroups: [resource.k8s.io], resources: [resourceclaims/binding], verbs: [update, patch]}");
    CHECK(c.until([&] {
      int all = 0;
      for (int i = 0; i < wanting; ++i) all += !node_of(i).empty();
      return all == wanting;
    }));
  }
}

TEST_CASE("device-taint-eviction-controller: whoever leads when, who has a tainted device goes, and nobody else") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"device-taint-eviction-controller"}});
    c.crash_between_writes(0.05);
    c.create(slices,
             yaml("{kind: ResourceSlice, apiVersion: resource.k8s.io/v1, metadata: {name: s}, spec: {driver: "
                  "gpu.example.com, allNodes: true, pool: {name: a, generation: 1, resourceSliceCount: 1}, devices: "
                  "[{name: d0}, {name: d1}]}}"));
    constexpr int users = 6;
    auto pod_key = [](int i) { return fmt::format("/registry/pods/default/p{}", i); };
    for (int i = 0; i < users; ++i) {
      c.create(
          claim_resource,
          yaml(fmt::format("{{kind: ResourceClaim, apiVersion: resource.k8s.io/v1, metadata: {{name: c{}, namespace: "
                           "default}}, spec: {{devices: {{requests: [{{name: r, exactly: {{deviceClassName: "
                           "gpu}}}}]}}}}}}",
                           i)));
      c.create(pods, yaml(fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: p{0}, namespace: default}}, "
                                      "spec: {{nodeName: n1, containers: [{{name: c, image: i}}], resourceClaims: "
                                      "[{{name: gpu, resourceClaimName: c{0}}}]}}}}",
                                      i)));
      auto uid = std::string(c.get(pod_key(i))["metadata"]["uid"].as_string());
      c.set_status(claim_resource, "default", fmt::format("c{}", i), [&](json::value& v) {
        v.set("status", yaml(fmt::format("{{allocation: {{devices: {{results: [{{request: r, driver: gpu.example.com, "
                                         "pool: a, device: d{}}}]}}}}, reservedFor: [{{resource: pods, name: p{}, "
                                         "uid: {}}}]}}",
                                         i % 2, i, uid)));
      });
    }
    c.create(taint_rules,
             yaml("{kind: DeviceTaintRule, apiVersion: resource.k8s.io/v1, metadata: {name: broken}, spec: "
                  "{deviceSelector: {driver: gpu.example.com, device: d0}, taint: {key: example.com/broken, effect: "
                  "NoExecute}}}"));
    auto goes = [&](int i) {
      auto p = c.get(pod_key(i));
      return p.is_null() || p["metadata"]["deletionTimestamp"].is_string();
    };
    CHECK(c.until([&] { return goes(0) && goes(2) && goes(4); }));
    CHECK(c.until([&] {
      return c.get("/registry/devicetaintrules/broken")["status"]["conditions"][0]["status"].as_string() == "False";
    }));
    for (int i : {1, 3, 5}) CHECK_FALSE(goes(i));
  }
}
