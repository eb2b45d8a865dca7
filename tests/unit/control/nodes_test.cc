// What is made of a Node: conditions, taints, labels.
#include "control/nodes/node_state.h"

#include <fmt/format.h>

#include "cluster.h"
#include "control/conditions.h"
#include "control/nodes/machine_clones.h"
#include "control/tolerations.h"

using namespace kedge;
using namespace kedge::control;

namespace {

json::value node(std::string_view rest) {
  return yaml("{kind: Node, apiVersion: v1, metadata: {name: n, creationTimestamp: '2026-01-01T00:00:00Z'}, " +
              std::string(rest) + "}");
}

std::string taints(const json::value& n) {
  std::string out;
  for (std::size_t i = 0; i < n["spec"]["taints"].size(); ++i) {
    auto& t = n["spec"]["taints"][i];
    auto key = t["key"].as_string();
    out += (out.empty() ? "" : " ") + std::string(key.substr(key.rfind('/') + 1)) + ":" +
           std::string(t["effect"].as_string());
  }
  return out;
}

}  // namespace

TEST_CASE(
    "node-lifecycle-controller: machines of one image are noticed, whatever their names; agents of one machine not") {
  machine_clones all;
  auto of = [](std::string_view machine, std::string_view boot) {
    return node(fmt::format("status: {{nodeInfo: {{machineID: '{}', bootID: '{}'}}}}", machine, boot));
  };
  CHECK(all.saw("a", of("m1", "b1")).empty());
  CHECK(all.saw("a", of("m1", "b2")).empty());  // it was booted again
  CHECK(all.saw("beside", of("m1", "b2")).empty());
  CHECK(all.saw("other", of("m2", "b3")).empty());
  CHECK(all.saw("copy", of("m1", "b4")) == "a");
  for (auto unknown : {of("", "b5"), of("m1", ""), node("status: {}")}) CHECK(all.saw("new", unknown).empty());
  // The one that it was a copy of is gone.
  all.gone("copy", of("m1", "b4"));
  CHECK(all.saw("copy", of("m1", "b4")) == "a");
  all.gone("a", of("m1", "b2"));
  CHECK(all.saw("copy", of("m1", "b4")).empty());

  // Whoever of one machine tells of its next boot first is looked at again.
  CHECK(are_clones(of("m1", "b1"), of("m1", "b2")));
  CHECK_FALSE(are_clones(of("m1", "b2"), of("m1", "b2")));
  CHECK_FALSE(are_clones(of("m1", "b1"), of("m2", "b2")));
  for (auto unknown : {of("", "b5"), of("m1", "")}) CHECK_FALSE(are_clones(unknown, of("m1", "b1")));
}

TEST_CASE("node-lifecycle-controller: NoSchedule taints follow from conditions") {
  struct row {
    std::string_view before, wanted;
  };
  const row rows[] = {
      {"status: {conditions: [{type: Ready, status: 'False'}]}", "not-ready:NoSchedule"},
      {"status: {conditions: [{type: Ready, status: Unknown}]}", "unreachable:NoSchedule"},
      {"status: {conditions: [{type: Ready, status: 'True'}, {type: DiskPressure, status: 'True'}, {type: PIDPressure, "
       "status: 'True'}, {type: MemoryPressure, status: 'True'}, "
       "{type: NetworkUnavailable, status: 'True'}]}",
       "disk-pressure:NoSchedule pid-pressure:NoSchedule memory-pressure:NoSchedule network-unavailable:NoSchedule"},
      {"spec: {unschedulable: true}", "unschedulable:NoSchedule"},
      // Theirs go when they no longer hold; those of others and other effects stay.
      {"spec: {taints: [{key: node.kubernetes.io/not-ready, effect: NoSchedule}, {key: mine, effect: NoSchedule}, "
       "{key: node.kubernetes.io/not-ready, effect: NoExecute}]}, "
       "status: {conditions: [{type: Ready, status: 'True'}]}",
       "mine:NoSchedule not-ready:NoExecute"},
      // A condition that isn't there says nothing.
      {"spec: {taints: [{key: node.kubernetes.io/not-ready, effect: NoSchedule}]}", ""},
  };
  for (auto& r : rows) {
    CAPTURE(r.before);
    auto next = settled_node(node(r.before), at().wall);
    REQUIRE(next.has_value());
    CHECK(taints(*next) == r.wanted);
    CHECK(!settled_node(*next, at("2026-01-01T13:00:00Z").wall).has_value());  // once is enough
  }
  CHECK(!settled_node(node("status: {conditions: [{type: Ready, status: 'True'}]}"), at().wall).has_value());
  auto labelled = node("spec: {}");
  labelled.member("metadata")
      .set("labels", yaml("{kubernetes.io/os: linux, kubernetes.io/arch: arm64, beta.kubernetes.io/arch: amd64}"));
  auto next = settled_node(labelled, at().wall);
  REQUIRE(next.has_value());
  CHECK((*next)["metadata"]["labels"]["beta.kubernetes.io/os"].as_string() == "linux");
  CHECK((*next)["metadata"]["labels"]["beta.kubernetes.io/arch"].as_string() == "arm64");
}

TEST_CASE("node-lifecycle-controller: conditions of a node that fell silent") {
  auto n = node(
      "status: {conditions: [{type: Ready, status: 'True', reason: KubeletReady, lastHeartbeatTime: "
      "'2026-01-01T11:00:00Z', lastTransitionTime: '2026-01-01T01:00:00Z'}, "
      "{type: NetworkUnavailable, status: 'False'}, {type: DiskPressure, status: Unknown, reason: x, "
      "lastTransitionTime: '2026-01-01T01:00:00Z'}]}");
  CHECK(mark_unknown(n, at().wall));
  auto& ready = condition_of(n, "Ready");
  CHECK(ready["status"].as_string() == "Unknown");
  CHECK(ready["reason"].as_string() == "NodeStatusUnknown");
  CHECK(ready["message"].as_string() == "Kubelet stopped posting node status.");
  CHECK(ready["lastHeartbeatTime"].as_string() == "2026-01-01T11:00:00Z");
  CHECK(ready["lastTransitionTime"].as_string() == "2026-01-01T12:00:00Z");
  CHECK(condition_of(n, "DiskPressure")["reason"].as_string() == "x");
  CHECK(condition_of(n, "MemoryPressure")["reason"].as_string() == "NodeStatusNeverUpdated");
  CHECK(condition_of(n, "MemoryPressure")["lastHeartbeatTime"].as_string() == "2026-01-01T00:00:00Z");
  CHECK(condition_status(n, "NetworkUnavailable") == "False");
  CHECK(!mark_unknown(n, at("2026-01-01T13:00:00Z").wall));
  auto never = node("spec: {}");
  CHECK(mark_unknown(never, at().wall));
  CHECK(condition_of(never, "Ready")["message"].as_string() == "Kubelet never posted node status.");
}

TEST_CASE("taint-eviction-controller: what tolerates what") {
  auto taint = yaml("{key: k, value: v, effect: NoExecute}");
  struct row {
    std::string_view toleration;
    bool wanted;
  };
  for (auto& r : {row{"{key: k, value: v, effect: NoExecute}", true},
                  {"{key: k, operator: Equal, value: v}", true},
                  {"{key: k, value: w}", false},
                  {"{key: k, operator: Exists}", true},
                  {"{operator: Exists}", true},
                  {"{key: other, operator: Exists}", false},
                  {"{key: k, operator: Exists, effect: NoSchedule}", false},
                  {"{key: k, operator: Gt, value: '1'}", false}}) {
    CAPTURE(r.toleration);
    CHECK(tolerates(yaml(r.toleration), taint) == r.wanted);
  }
}
