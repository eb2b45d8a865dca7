// What the controller of device claims plans, from what it sees.
#include <algorithm>
#include <chrono>

#include "api/metrics/metrics.h"
#include "at_work.h"
#include "control/conditions.h"

using namespace kedge;
using namespace kedge::control;

namespace {

constexpr std::string_view claim_key = "/registry/resourceclaims/default/c";

json::value pod(std::string_view name, std::string_view claims, std::string_view more = "") {
  return yaml(fmt::format(
      "{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default}}, spec: {{containers: [{{name: "
      "c, image: i}}], resourceClaims: [{}]}}, status: {{{}}}}}",
      name, claims, more));
}

json::value claim(std::string_view metadata, std::string_view status = "") {
  return yaml(
      fmt::format("{{kind: ResourceClaim, apiVersion: resource.k8s.io/v1, metadata: {{namespace: default, {}}}, spec: "
                  "{{devices: {{requests: [{{name: r, exactly: {{deviceClassName: gpu, allocationMode: ExactCount, "
                  "count: 1}}}}]}}}}, status: {{{}}}}}",
                  metadata, status));
}

constexpr std::string_view allocation =
    "allocation: {devices: {results: [{request: r, driver: gpu.example.com, pool: a, device: d0}]}}";

}  // namespace

TEST_CASE("resourceclaim-controller: a claim is made of a template, and then the pod is told of it") {
  at_work w("resourceclaim-controller");
  w.put(pod("plain", ""));
  CHECK(w.named().empty());
  w.put(pod("p", "{name: gpu, resourceClaimTemplateName: t}"));
  CHECK(w.named() == text{"default/p"});
  CHECK(w.look("default/p", at()).notices.at(0).message ==
        "PodResourceClaim gpu: resource claim template \"t\": resourceclaimtemplate.resource.k8s.io \"t\" not found");
  w.put(
      "{kind: ResourceClaimTemplate, apiVersion: resource.k8s.io/v1, metadata: {name: t, namespace: default}, spec: "
      "{metadata: {labels: {a: b}}, spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu}}]}}}}");
  CHECK(w.named() == text{"template:default/t"});
  CHECK(w.work("template:default/t").empty());
  CHECK(w.named() == text{"default/p"});
  auto made = updated(w.look("default/p", at()));
  CHECK(made["metadata"]["generateName"].as_string() == "p-gpu-");
  CHECK(made["metadata"]["annotations"]["resource.kubernetes.io/pod-claim-name"].as_string() == "gpu");
  CHECK(made["metadata"]["ownerReferences"][0]["uid"].as_string() == "uid-p");
  CHECK(made["metadata"]["labels"]["a"].as_string() == "b");
  w.put(pod("a-pod-with-a-name-that-goes-on-and-on-for-no-good-reason",
            "{name: a-claim-with-a-name-that-is-rather-long-too, resourceClaimTemplateName: t}"));
  CHECK(updated(w.look("default/a-pod-with-a-name-that-goes-on-and-on-for-no-good-reason",
                       at()))["metadata"]["generateName"]
            .as_string() == "a-pod-with-a-name-that-goes-on--a-claim-with-a-name-that");
  w.named();
  // A leader that ended before it could tell the pod: the claim is found by its owner.
  w.put(
      claim("name: p-gpu-x, annotations: {resource.kubernetes.io/pod-claim-name: gpu}, ownerReferences: [{apiVersion: "
            "v1, kind: Pod, name: p, uid: uid-p, controller: true}]"));
  CHECK(w.named() == text{"claim:default/p-gpu-x", "default/p", "users:default/p-gpu-x"});
  auto told = w.look("default/p", at());
  CHECK(lines(told) == text{"update pods/status default/p"});
  CHECK(updated(told)["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_string() == "p-gpu-x");
  w.put(updated(told));
  w.named();
  CHECK(lines(w.look("default/p", at())).empty());
}

TEST_CASE("resourceclaim-controller: a pod of many claims is looked at sooner than they were made") {
  constexpr int claims = 4000;
  using clock = std::chrono::steady_clock;
  at_work w("resourceclaim-controller");
  json::array all;
  const auto began = clock::now();
  for (int i = 0; i < claims; ++i) {
    all.push_back(json::object{{"name", fmt::format("g{}", i)}, {"resourceClaimTemplateName", "t"}});
    w.put(
        claim(fmt::format("name: c{0}, annotations: {{resource.kubernetes.io/pod-claim-name: g{0}}}, "
                          "ownerReferences: [{{apiVersion: v1, kind: Pod, name: p, uid: uid-p, controller: true}}]",
                          i)));
  }
  const auto made = clock::now() - began;
  auto p = pod("p", "");
  p.member("spec").set("resourceClaims", std::move(all));
  w.put(std::move(p));
  // Who looks at each claim for each takes ten times as long as it took to make them, who looks at all once a tenth.
  auto least = clock::duration::max();
  for (int tries = 0; least > made && tries < 3; ++tries) {
    const auto looked = clock::now();
    auto told = updated(w.look("default/p", at()));
    least = std::min(least, clock::now() - looked);
    CHECK(told["status"]["resourceClaimStatuses"].size() == claims);
  }
  INFO(least.count(), " ns of ", made.count());
  CHECK(least <= made);
}

TEST_CASE("resourceclaim-controller: what nobody uses any more gives its devices back") {
  at_work w("resourceclaim-controller");
  w.put(pod("p", "{name: gpu, resourceClaimName: c}"));
  w.put(claim("name: c, finalizers: [resource.kubernetes.io/delete-protection]",
              fmt::format("{}, reservedFor: [{{resource: pods, name: p, uid: uid-p}}]", allocation)));
  w.named();
  CHECK(w.work("claim:default/c").empty());
  CHECK(w.get(std::string(claim_key))["status"]["allocation"].is_object());
  w.put(pod("p", "{name: gpu, resourceClaimName: c}", "phase: Succeeded"));
  CHECK(w.named() == text{"claim:default/c", "default/p"});
  CHECK(w.work("claim:default/c").empty());
  auto c = w.get(std::string(claim_key));
  CHECK(!c["status"]["allocation"].is_object());
  CHECK(c["status"]["reservedFor"].empty());
  CHECK(c["metadata"]["finalizers"].empty());
  // Who has ended gets no other claim, and none back that others still have.
  w.put(pod("q", "{name: gpu, resourceClaimName: c}"));
  w.put(claim("name: c, finalizers: [resource.kubernetes.io/delete-protection]",
              fmt::format("{}, reservedFor: [{{resource: pods, name: q, uid: uid-q}}]", allocation)));
  w.put(yaml(
      "{kind: Pod, apiVersion: v1, metadata: {name: p, namespace: default}, spec: {nodeName: a, containers: [{name: "
      "c, image: i}], resourceClaims: [{name: gpu, resourceClaimName: c}, {name: other, resourceClaimTemplateName: "
      "t}]}, status: {phase: Failed}}"));
  CHECK(lines(w.look("default/p", at())).empty());
}

// ---- taints of devices

namespace {

json::value slice(std::string_view taints, int generation = 1) {
  return yaml(
      fmt::format("{{kind: ResourceSlice, apiVersion: resource.k8s.io/v1, metadata: {{name: s{1}}}, spec: {{driver: "
                  "gpu.example.com, nodeName: n1, pool: {{name: a, generation: {1}, resourceSliceCount: 1}}, devices: "
                  "[{{name: d0, taints: [{0}]}}, {{name: d1}}]}}}}",
                  taints, generation));
}

json::value rule(std::string_view name, std::string_view effect, std::string_view more = "driver: gpu.example.com") {
  return yaml(fmt::format(
      "{{kind: DeviceTaintRule, apiVersion: resource.k8s.io/v1, metadata: {{name: {}, generation: 1}}, spec: "
      "{{deviceSelector: {{{}}}, taint: {{key: k, effect: {}, timeAdded: '2026-01-01T12:00:00Z'}}}}}}",
      name, more, effect));
}

// A claim that has a device, and the pod of that name that uses it.
void put_user(at_work& w, std::string_view name, std::string_view device, std::string_view tolerations = "") {
  w.put(claim(fmt::format("name: {}", name),
              fmt::format("allocation: {{devices: {{results: [{{request: r, driver: gpu.example.com, pool: a, device: "
                          "{}, tolerations: [{}]}}]}}}}, reservedFor: [{{resource: pods, name: {}, uid: uid-{}}}]",
                          device, tolerations, name, name)));
  auto p = pod(name, fmt::format("{{name: g, resourceClaimName: {}}}", name));
  p.member("spec").set("nodeName", "n1");
  w.put(p);
}

constexpr std::string_view no_execute = "{key: k, effect: NoExecute, timeAdded: '2026-01-01T12:00:00Z'}";

text goes(std::string_view name) {
  return {fmt::format("update pods/status default/{}", name), fmt::format("remove pods default/{0} uid-{0}", name),
          fmt::format("event Normal DeviceTaintManagerEviction about Pod default/{}: Marking for deletion", name)};
}

json::value progress(at_work& w, std::string_view name) {
  return w.get(fmt::format("/registry/devicetaintrules/{}", name))["status"]["conditions"][0];
}

}  // namespace

TEST_CASE("resourceclaim-controller: a claim for extended resources that a leader made in vain goes") {
  at_work w("resourceclaim-controller");
  constexpr std::string_view made_for =
      "name: {}, finalizers: [resource.kubernetes.io/delete-protection], annotations: "
      "{{resource.kubernetes.io/extended-resource-claim: 'true'}}, ownerReferences: [{{apiVersion: v1, kind: Pod, "
      "name: "
      "p, uid: uid-p, controller: true}}]";
  auto status = fmt::format("{}, reservedFor: [{{resource: pods, name: p, uid: uid-p}}]", allocation);
  for (auto name : {"mine", "vain"}) w.put(claim(fmt::format(fmt::runtime(made_for), name), status));
  auto p = pod("p", "", "extendedResourceClaimStatus: {resourceClaimName: mine, requestMappings: []}");
  w.put(p);
  auto settle = [&] {
    for (auto named = w.named(); !named.empty(); named = w.named())
      for (auto& key : named) CHECK(w.work(key) == "");
  };
  settle();
  // Until the pod has its node the scheduler looks after them.
  CHECK(w.keys_under("/registry/resourceclaims/default/") == text{"mine", "vain"});
  p.member("spec").set("nodeName", "n1");
  w.put(p);
  settle();
  CHECK(w.keys_under("/registry/resourceclaims/default/") == text{"mine"});
  CHECK(w.get("/registry/resourceclaims/default/mine")["status"]["reservedFor"].size() == 1);
}

TEST_CASE("device-taint-eviction-controller: who uses a tainted device goes, now, later or not at all") {
  api::metrics measures;
  at_work w("device-taint-eviction-controller", {.measures = &measures});
  w.put(slice(""));
  put_user(w, "now", "d0");
  put_user(w, "later", "d0", "{key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 60}");
  put_user(w, "ever", "d0", "{operator: Exists, effect: NoExecute}");
  // A toleration of every effect isn't one of this: as with kube-controller-manager.
  put_user(w, "vague", "d0", "{operator: Exists}");
  put_user(w, "other", "d1");
  CHECK(w.named().empty());
  w.put(slice("{key: k, effect: NoSchedule, timeAdded: '2026-01-01T12:00:00Z'}"));
  CHECK(w.named().empty());
  w.put(slice(no_execute));
  auto claims = w.named();
  CHECK(claims == text{"claim:default/ever", "claim:default/later", "claim:default/now", "claim:default/other",
                       "claim:default/vague"});
  for (auto& c : claims) CHECK(w.work(c) == "");
  CHECK(w.named() ==
        text{"pod:default/ever", "pod:default/later", "pod:default/now", "pod:default/other", "pod:default/vague"});
  auto noon = at("2026-01-01T12:00:20Z");
  CHECK(lines(w.look("pod:default/now", noon)) == goes("now"));
  CHECK(lines(w.look("pod:default/vague", noon)) == goes("vague"));
  CHECK(lines(w.look("pod:default/later", noon)) == text{"again 40s"});
  CHECK(lines(w.look("pod:default/later", at("2026-01-01T12:01:00Z"))) == goes("later"));
  CHECK(lines(w.look("pod:default/ever", noon)).empty());
  CHECK(lines(w.look("pod:default/other", noon)).empty());
  // What was done is done once.
  CHECK(w.work("pod:default/now") == "");
  CHECK(measures.text().contains("device_taint_eviction_controller_pod_deletions_total 1\n"));
  CHECK(measures.text().contains("device_taint_eviction_controller_pod_deletion_duration_seconds_count 1\n"));
  auto gone = w.get("/registry/pods/default/now");
  CHECK(gone["metadata"]["deletionTimestamp"].is_string());
  CHECK(condition_of(gone, "DisruptionTarget")["reason"].as_string() == "DeletionByDeviceTaintManager");
  CHECK(lines(w.look("pod:default/now", noon)).empty());
  // A newer generation of the pool has it no more: who was to go stays.
  w.put(slice("", 2));
  for (auto& c : w.named()) CHECK(w.work(c) == "");
  CHECK(lines(w.look("pod:default/later", noon)) ==
        text{"event Normal DeviceTaintManagerEviction about Pod default/later: Cancelling deletion"});
  CHECK(lines(w.look("pod:default/later", noon)).empty());
}

TEST_CASE("device-taint-eviction-controller: a rule makes pods go, and tells how far that is") {
  at_work w("device-taint-eviction-controller");
  w.put(slice(""));
  put_user(w, "a", "d0");
  put_user(w, "b", "d1");
  w.put(rule("tries", "None"));
  CHECK(w.named() == text{"rule:tries"});
  CHECK(w.work("rule:tries") == "");
  CHECK(progress(w, "tries")["reason"].as_string() == "NoEffect");
  CHECK(progress(w, "tries")["message"].as_string() ==
        "2 published devices selected. 2 allocated devices selected. 2 pods would be evicted in 1 namespace if the "
        "effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an "
        "update.");
  w.put(rule("keeps", "NoSchedule"));
  CHECK(w.work("rule:keeps") == "");
  CHECK(progress(w, "keeps")["reason"].as_string() == "OtherEffect");
  w.named();

  w.put(rule("evicts", "NoExecute", "driver: gpu.example.com, device: d1"));
  CHECK(w.named() == text{"rule:evicts", "claims"});
  CHECK(w.work("rule:evicts") == "");
  CHECK(progress(w, "evicts")["status"].as_string() == "True");
  CHECK(progress(w, "evicts")["reason"].as_string() == "PodsPendingEviction");
  CHECK(progress(w, "evicts")["message"].as_string() == "1 pod needs to be evicted in 1 namespace.");
  CHECK(w.work("claims") == "");
  for (auto& c : w.named()) CHECK(w.work(c) == "");
  CHECK(w.named() == text{"pod:default/a", "pod:default/b"});
  CHECK(w.work("pod:default/a") == "");
  CHECK(w.work("pod:default/b") == "");
  CHECK(w.get("/registry/pods/default/a")["metadata"]["deletionTimestamp"].is_null());
  CHECK(w.get("/registry/pods/default/b")["metadata"]["deletionTimestamp"].is_string());
  // Not more often than each ten seconds.
  CHECK(w.work("rule:evicts") == "");
  CHECK(progress(w, "evicts")["reason"].as_string() == "PodsPendingEviction");
  auto told = w.get("/registry/devicetaintrules/evicts");
  for (auto& c : told.member("status").member("conditions").make_array())
    c.set("lastTransitionTime", "2026-01-01T00:00:00Z");
  w.put(told);
  CHECK(w.work("rule:evicts") == "");
  CHECK(progress(w, "evicts")["status"].as_string() == "False");
  CHECK(progress(w, "evicts")["reason"].as_string() == "Completed");
  CHECK(progress(w, "evicts")["message"].as_string() == "1 pod evicted since starting the controller.");
}
