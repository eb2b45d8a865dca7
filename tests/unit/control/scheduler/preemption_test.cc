#include "unit/control/scheduler/kit.h"

using namespace kedge;
using namespace kedge::control::scheduler;
using namespace kedge::control::scheduler::kit;

namespace {

std::string with_priority(int priority, std::string_view cpu) {
  return "priority: " + std::to_string(priority) + "\n" + asks(cpu);
}

}  // namespace

TEST_CASE("the fewest pods of less priority go") {
  world w;
  w.cluster.set_node(a_node("n1"));
  w.add(a_pod("low", with_priority(0, "1"), "{}", "n1"));
  w.add(a_pod("mid", with_priority(5, "1"), "{}", "n1"));
  w.add(a_pod("high", with_priority(100, "2"), "{}", "n1"));
  auto plan = w.victims(w.cluster.read_pod(a_pod("p", with_priority(10, "1")), {}));
  REQUIRE(plan.chosen.node);
  REQUIRE(plan.chosen.victims.size() == 1);
  CHECK(plan.chosen.victims[0]->name == "low");
  CHECK(plan.message == "preemption: found a potential placement for pod on node n1, preempting 1 victims");
  plan = w.victims(w.cluster.read_pod(a_pod("p", with_priority(10, "2")), {}));
  CHECK(plan.chosen.victims.size() == 2);
  plan = w.victims(w.cluster.read_pod(a_pod("p", with_priority(10, "3")), {}));
  CHECK(!plan.chosen.node);
  CHECK(plan.message == "preemption: 0/1 nodes are available: 1 Insufficient cpu.");
}

TEST_CASE("the node with the least harm is chosen") {
  world w;
  for (auto n : {"n1", "n2", "n3"}) w.cluster.set_node(a_node(n));
  w.add(a_pod("a", with_priority(5, "4"), "{}", "n1"));
  w.add(a_pod("b", with_priority(1, "4"), "{}", "n2"));
  w.add(a_pod("c", with_priority(1, "2"), "{}", "n3"));
  w.add(a_pod("d", with_priority(1, "2"), "{}", "n3"));
  CHECK(w.victims(w.cluster.read_pod(a_pod("p", with_priority(10, "4")), {})).chosen.node->name == "n2");
  // Whom a budget protects goes last.
  auto guarded = a_pod("b", with_priority(1, "4"), "{app: b}", "n2");
  w.add(guarded);
  w.cluster.set_budget(
      yaml("{metadata: {name: b, namespace: default}, spec: {selector: {matchLabels: {app: b}}}, status: "
           "{disruptionsAllowed: 0}}"));
  CHECK(w.victims(w.cluster.read_pod(a_pod("p", with_priority(10, "4")), {})).chosen.node->name == "n3");
}

TEST_CASE("who may not preempt, and where it doesn't help") {
  world w;
  w.cluster.set_node(a_node("n1"));
  w.add(a_pod("a", with_priority(0, "4"), "{}", "n1"));
  auto never = w.cluster.read_pod(a_pod("p", "preemptionPolicy: Never\n" + with_priority(10, "1")), {});
  CHECK(w.victims(never).message == "preemption: not eligible due to preemptionPolicy=Never.");
  auto elsewhere = w.cluster.read_pod(a_pod("p", "nodeSelector: {no: where}\n" + with_priority(10, "1")), {});
  CHECK(w.victims(elsewhere).message ==
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.");
  auto equal = w.cluster.read_pod(a_pod("p", with_priority(0, "1")), {});
  CHECK(w.victims(equal).message ==
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.");
}

TEST_CASE("a place that is kept for a pod of more priority is not given away") {
  world w;
  w.cluster.set_node(a_node("n1"));
  auto kept = a_pod("kept", with_priority(10, "3"));
  kept.member("status").set("nominatedNodeName", "n1");
  w.add(kept);
  CHECK(w.where(a_pod("p", with_priority(5, "2"))) == "0/1 nodes are available: 1 Insufficient cpu.");
  CHECK(w.where(a_pod("p", with_priority(20, "2"))) == "n1");
}

TEST_CASE("what removing a pod does to anti-affinity is seen") {
  world w;
  w.cluster.set_node(a_node("n1"));
  constexpr auto far =
      "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: "
      "kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}\n";
  w.add(a_pod("web", with_priority(0, "100m"), "{app: web}", "n1"));
  w.add(a_pod("other", with_priority(0, "100m"), "{app: other}", "n1"));
  auto plan = w.victims(w.cluster.read_pod(a_pod("p", std::string(far) + with_priority(10, "100m")), {}));
  REQUIRE(plan.chosen.victims.size() == 1);
  CHECK(plan.chosen.victims[0]->name == "web");
}
