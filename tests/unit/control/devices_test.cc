// What the controller of device claims plans, from what it sees.
#include <algorithm>
#include <chrono>

#include "at_work.h"

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
