// node-lifecycle-controller's zones: how fast nodes are tainted. The numbers are those of kube-controller-manager's own
// rules.
#include "control/nodes/zones.h"

#include <doctest/doctest.h>

#include "json/parse.h"

using namespace kedge;
using namespace kedge::control;
using namespace std::chrono_literals;

namespace {

time_point t(duration d) { return time_point(1h) + d; }
json::value node(std::string_view labels) {
  return *json::parse(std::string(R"({"metadata":{"labels":)") + std::string(labels) + "}}");
}

// Who is tainted by then, asked every 100 ms as kube-controller-manager does.
int tainted(zones& z, const std::string& zone, duration from, duration until) {
  int n = 0;
  for (auto now = from; now <= until; now += 100ms)
    while (z.take(zone, t(now))) ++n;
  return n;
}

}  // namespace

TEST_CASE("node-lifecycle-controller: a zone is its nodes' region and zone, the old labels first") {
  struct row {
    std::string_view labels, wanted;
  };
  for (auto& r : {row{"{}", ""},
                  {R"({"topology.kubernetes.io/zone":"a"})", "/a"},
                  {R"({"topology.kubernetes.io/region":"r","topology.kubernetes.io/zone":"a"})", "r/a"},
                  {R"({"failure-domain.beta.kubernetes.io/zone":"old","topology.kubernetes.io/zone":"a"})", "/old"},
                  {R"({"failure-domain.beta.kubernetes.io/zone":"","topology.kubernetes.io/zone":"a"})", ""}})
    CHECK(zone_of(node(r.labels)) == r.wanted);
}

TEST_CASE("node-lifecycle-controller: states of a zone") {
  struct row {
    std::size_t ready, not_ready;
    zone_state wanted;
  };
  using enum zone_state;
  for (auto& r : {row{0, 0, normal},
                  {5, 0, normal},
                  {0, 1, full_disruption},
                  {0, 9, full_disruption},
                  {1, 2, normal},               // two are not enough
                  {3, 3, normal},               // half
                  {9, 11, partial_disruption},  // 0.55
                  {2, 3, partial_disruption},
                  {1, 9, partial_disruption}})
    CHECK(state_of_zone(r.ready, r.not_ready, 0.55) == r.wanted);
}

TEST_CASE("node-lifecycle-controller: a healthy zone's nodes are tainted one in ten seconds") {
  zones z({});
  z.know("a", t(0s));
  for (auto name : {"n1", "n2", "n3", "n4", "n5"}) z.queue("a", name, t(0s));
  CHECK(z.judge({{"a", {20, 5}}}, t(0s)) == zones::turn::none);
  CHECK(z.take("a", t(0s)) == "n1");
  CHECK(!z.take("a", t(9s)));
  CHECK(z.next(t(9s)) == t(10s));
  CHECK(z.take("a", t(10s)) == "n2");
  z.remove("a", "n3");
  CHECK(tainted(z, "a", 10s, 100s) == 2);
  // Who had its turn doesn't wait again, unless its taint went.
  z.queue("a", "n1", t(100s));
  CHECK(!z.next(t(100s)));
  z.queue_again("a", "n1", t(100s));
  CHECK(z.take("a", t(120s)) == "n1");
}

TEST_CASE("node-lifecycle-controller: a disrupted zone is slow when it is large, and stands when it is small") {
  zones z({.normal = 1, .secondary = 0.1, .large_cluster_size = 50, .unhealthy = 0.55});
  for (int i = 0; i < 100; ++i) {
    z.queue("large", std::to_string(i), t(0s));
    z.queue("small", std::to_string(i), t(0s));
  }
  CHECK(z.judge({{"large", {20, 40}}, {"small", {20, 30}}}, t(0s)) == zones::turn::none);
  CHECK(z.state("large") == zone_state::partial_disruption);
  CHECK(tainted(z, "large", 0s, 99s) == 10);
  CHECK(tainted(z, "small", 0s, 99s) == 0);
  // A zone wholly down while another stands goes at the normal rate.
  CHECK(z.judge({{"large", {60, 0}}, {"small", {0, 50}}}, t(100s)) == zones::turn::none);
  CHECK(tainted(z, "small", 101s, 110s) == 10);
}

TEST_CASE("node-lifecycle-controller: when every zone is down nothing happens, until one isn't") {
  zones z({});
  z.queue("a", "a1", t(0s));
  z.queue("b", "b1", t(0s));
  CHECK(z.judge({{"a", {1, 1}}, {"b", {1, 1}}}, t(0s)) == zones::turn::none);
  CHECK(z.judge({{"a", {0, 2}}, {"b", {0, 2}}}, t(5s)) == zones::turn::stop_all);
  CHECK(tainted(z, "a", 5s, 1h) == 0);
  CHECK(!z.next(t(1h)));
  CHECK(z.judge({{"a", {0, 2}}, {"b", {0, 2}}}, t(1h)) == zones::turn::none);  // told once
  CHECK(z.judge({{"a", {1, 1}}, {"b", {0, 2}}}, t(2h)) == zones::turn::resume);
  CHECK(z.take("b", t(2h + 10s)) == "b1");
  // A new zone begins in no state, so that the first round can say that all are down.
  zones fresh({});
  fresh.know("", t(0s));
  CHECK(fresh.judge({{"", {0, 3}}}, t(0s)) == zones::turn::stop_all);
}

TEST_CASE("node-lifecycle-controller: what can't be written is tried again, if it still waits") {
  zones z({.normal = 10});
  z.queue("a", "n1", t(0s));
  z.queue("a", "n2", t(0s));
  CHECK(z.take("a", t(0s)) == "n1");
  z.retry("a", "n1", t(50ms));
  CHECK(z.take("a", t(200ms)) == "n2");
  CHECK(z.take("a", t(400ms)) == "n1");
  z.remove("a", "n1");
  z.retry("a", "n1", t(500ms));  // it is ready again
  CHECK(!z.next(t(1s)));
}
