// Pods that are resized: what their nodes can, and what quotas count meanwhile.
#include <fmt/format.h>

#include "../access_harness.h"

#include "api/admission/quota_usage.h"

namespace kedge::api {
namespace {

using namespace testing;

TEST_CASE("a pod isn't resized to what its node never has, or can't do") {
  cluster c;
  c.put("{kind: Namespace, metadata: {name: default}, status: {phase: Active}}");
  c.put("{kind: Node, metadata: {name: old}, status: {allocatable: {cpu: '2', memory: 1Gi}}}");
  c.put(
      "{kind: Node, metadata: {name: new}, status: {allocatable: {cpu: '2', memory: 1Gi}, declaredFeatures: "
      "[InPlacePodLevelResourcesVerticalScaling, InPlacePodVerticalScalingInitContainers]}}");
  c.put("{kind: Node, metadata: {name: other, labels: {kubernetes.io/os: plan9}}, status: {}}");
  gate g(c);
  auto pod_on = [](std::string_view node, std::string_view cpu, std::string_view more = "") {
    return fmt::format(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: default}}, spec: {{nodeName: '{}', {} "
        "containers: "
        "[{{name: c, image: i, resources: {{requests: {{cpu: {}, memory: 1Gi}}}}}}]}}}}",
        node, more, cpu);
  };
  auto resized = [&](std::string now, std::string before) { return g.update(admin(), now, before, "resize"); };
  CHECK(resized(pod_on("old", "2"), pod_on("old", "1")).good);
  CHECK(resized(pod_on("", "9"), pod_on("", "1")).good);
  auto much = resized(pod_on("old", "2500m"), pod_on("old", "1"));
  CHECK(
      much.message ==
      R"(pods "p" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000)");
  REQUIRE(much.why.causes.size() == 1);
  CHECK(much.why.causes[0].reason == "NodeCapacity");
  CHECK(resized(pod_on("nowhere", "2"), pod_on("nowhere", "1")).message ==
        R"(pods "p" is forbidden: node "nowhere" not found)");
  CHECK(resized(pod_on("other", "2"), pod_on("other", "1")).message ==
        R"(pods "p" is forbidden: pod resize is only supported on linux nodes, node "other" is "plan9")");
  // What isn't changed isn't asked about.
  CHECK(resized(pod_on("nowhere", "1"), pod_on("nowhere", "1")).good);
  const std::string whole = "resources: {requests: {cpu: 1500m}},",
                    first = "initContainers: [{name: i, image: i, resources: {requests: {cpu: 1}}}],",
                    first_before = "initContainers: [{name: i, image: i}],";
  const std::string missing = R"(pods "p" is forbidden: pod update requires features )",
                    where = R"( which are not available on node "old")";
  CHECK(resized(pod_on("old", "1", whole), pod_on("old", "1")).message ==
        missing + "InPlacePodLevelResourcesVerticalScaling" + where);
  CHECK(resized(pod_on("old", "1", first), pod_on("old", "1", first_before)).message ==
        missing + "InPlacePodVerticalScalingInitContainers" + where);
  CHECK(resized(pod_on("new", "1", whole + first), pod_on("new", "1", first_before)).good);
}

TEST_CASE("a pod that is resized counts for quotas with what it has and what it is to have") {
  auto usage = [](std::string_view status) {
    auto pod = json::parse_yaml(
        "{spec: {containers: [{name: c, resources: {requests: {cpu: 200m, memory: 10Mi}, limits: {cpu: 400m}}}, {name: "
        "d}]}, "
        "status: {" +
        std::string(status) + "}}");
    REQUIRE(pod);
    auto all = quota_usage("", "pods", *pod);
    auto text = [&](const char* name) { return all.contains(name) ? all.find(name)->second.text() : std::string(); };
    return text("requests.cpu") + " " + text("limits.cpu") + " " + text("requests.memory") + " " +
           text("limits.memory");
  };
  const std::string of_c = "containerStatuses: [{name: c, allocatedResources: {cpu: ";
  CHECK(usage("") == "200m 400m 10Mi ");
  CHECK(usage(of_c + "100m}, resources: {requests: {cpu: 100m}, limits: {cpu: 300m}}}]") == "200m 400m 10Mi ");
  CHECK(usage(of_c + "300m}, resources: {requests: {cpu: 250m}, limits: {cpu: 500m}}}]") == "300m 500m 10Mi ");
  CHECK(usage(of_c + "200m}, resources: {requests: {cpu: 350m}}}]") == "350m 400m 10Mi ");
  // What can't be given isn't counted.
  CHECK(usage("conditions: [{type: PodResizePending, reason: Infeasible}], " + of_c +
              "100m}, resources: {requests: {cpu: 100m}, limits: {cpu: 300m}}}]") == "100m 300m  ");
  CHECK(usage("phase: Succeeded, " + of_c + "300m}}]") == "   ");
}

}  // namespace
}  // namespace kedge::api
