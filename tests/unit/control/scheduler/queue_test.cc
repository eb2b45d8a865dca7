#include "control/scheduler/queue.h"

#include "unit/control/scheduler/kit.h"

using namespace kedge;
using namespace kedge::control::scheduler;
using namespace kedge::control::scheduler::kit;
using namespace std::chrono_literals;

namespace {

struct waiting {
  world w;
  queue q;
  time_point now{std::chrono::hours(1)};

  pod_ref add(std::string name, std::string_view spec = "{}") {
    auto p = w.cluster.read_pod(a_pod(std::move(name), spec), {});
    q.add(p, now);
    return p;
  }
  std::string next() {
    auto p = q.pop(now);
    return p ? p->name : "";
  }
};

}  // namespace

TEST_CASE("priority first, then age") {
  waiting t;
  t.add("a");
  t.now += 1ms;
  t.add("b", "priority: 5");
  t.now += 1ms;
  t.add("c");
  CHECK(t.next() == "b");
  CHECK(t.next() == "a");
  CHECK(t.next() == "c");
  CHECK(t.next() == "");
}

TEST_CASE("who was refused waits for an event that helps, and for its backoff") {
  waiting t;
  t.w.cluster.set_node(a_node("n1"));
  auto p = t.add("a", asks("8"));
  CHECK(t.next() == "a");
  auto refused = t.w.place(p);
  REQUIRE(!refused.node);
  t.q.refuse(p, refused.why.plugins, t.now);
  CHECK(t.next() == "");
  // A label is nothing to it, more room is.
  CHECK(t.q.happened(
            {.what = cluster_event::kind::node, .node_changes = node_labels, .node = t.w.cluster.find_node("n1")},
            t.now) == 0);
  t.w.cluster.set_node(a_node("n1", yaml("allocatable: {cpu: \"16\"}")));
  CHECK(t.q.happened(
            {.what = cluster_event::kind::node, .node_changes = node_allocatable, .node = t.w.cluster.find_node("n1")},
            t.now) == 1);
  CHECK(t.next() == "");
  CHECK(t.q.next_due() == t.now + 1s);
  t.now += 1s;
  CHECK(t.next() == "a");
  CHECK(t.q.attempts("default/a") == 2);
}

TEST_CASE("the backoff doubles up to its bound, and nobody waits for ever") {
  waiting t;
  auto p = t.add("a");
  for (auto wait : {1s, 2s, 4s, 8s, 10s, 10s}) {
    CHECK(t.next() == "a");
    t.q.retry(p, t.now);
    CHECK(t.q.next_due() == t.now + wait);
    t.now += wait;
  }
  CHECK(t.next() == "a");
  t.q.refuse(p, {}, t.now);
  t.now += 5min - 1s;
  CHECK(t.next() == "");
  t.now += 1s;
  CHECK(t.next() == "a");
}

TEST_CASE("gates hold a pod back until they are gone") {
  waiting t;
  t.add("a", "schedulingGates: [{name: example.com/wait}]");
  CHECK(t.next() == "");
  CHECK(t.q.gated() == 1);
  CHECK(t.q.happened({}, t.now) == 0);
  t.add("a");
  CHECK(t.q.gated() == 0);
  CHECK(t.next() == "a");
}

TEST_CASE("a change while the pod is tried is not lost") {
  waiting t;
  auto p = t.add("a", asks("8"));
  CHECK(t.next() == "a");
  t.add("a", asks("1"));
  t.q.refuse(p, {}, t.now);
  t.now += 1s;
  CHECK(t.next() == "a");
}

TEST_CASE("who is gone is forgotten wherever it waits") {
  waiting t;
  auto a = t.add("a");
  t.add("b", "schedulingGates: [{name: example.com/wait}]");
  CHECK(t.next() == "a");
  t.q.refuse(a, {}, t.now);
  t.q.remove("default/a");
  t.q.remove("default/b");
  CHECK(t.q.unschedulable() + t.q.gated() + t.q.active() + t.q.backing_off() == 0);
  CHECK(t.q.happened({}, t.now) == 0);
}
