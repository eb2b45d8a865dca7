// What a search for devices may cost: counted, not timed.
#include "control/scheduler/devices/allocator.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/scheduler/devices/limits.h"
#include "control/scheduler/plugins/dynamic_resources.h"
#include "unit/control/scheduler/kit.h"

using namespace kedge;
using namespace kedge::control::scheduler;
using kit::a_node, kit::yaml;

namespace {

// A node with so many devices, and a class for all of them.
struct pool_world {
  cluster_view cluster;
  std::uint64_t longest = 0, turns = 0;
  explicit pool_world(int devices) {
    cluster.set_node(a_node("a"));
    json::array all;
    for (int i = 0; i < devices; ++i) all.push_back(json::object{{"name", fmt::format("d{}", i)}});
    auto slice = yaml(
        "{metadata: {name: s}, spec: {driver: gpu.example.com, nodeName: a, pool: {name: a, generation: 1, "
        "resourceSliceCount: 1}}}");
    slice.member("spec").set("devices", std::move(all));
    cluster.devices().set_slice(slice);
    cluster.devices().set_class(yaml("{metadata: {name: gpu}, spec: {}}"));
  }
  // Of `steps` what it took is taken off. `of_turn`: so many at a time.
  device_allocation allocate(std::span<const device_claim_ref> claims, std::uint64_t& steps,
                             std::uint64_t of_turn = search_steps_max) {
    device_search search({claims.begin(), claims.end()}, *cluster.find_node("a"), cluster.devices(), steps);
    for (bool over = false; !over;) {
      auto left = of_turn;
      const auto before = search.taken();
      over = search.run(left);
      longest = std::max(longest, search.taken() - before);
      ++turns;
    }
    steps -= search.taken();
    return search.result();
  }
  std::uint64_t steps_for(std::string_view requests) {
    auto claim = claim_of(requests);
    auto left = search_steps_max;
    (void)allocate(std::span(&claim, 1), left);
    return search_steps_max - left;
  }
  static device_claim_ref claim_of(std::string_view requests) {
    return device_claim_of(yaml(fmt::format(
        "{{metadata: {{name: c, namespace: default, uid: u}}, spec: {{devices: {{requests: [{}]}}}}}}", requests)));
  }
};

std::string a_request(std::string_view name, std::string_view selector,
                      std::string_view mode = "ExactCount, count: 1") {
  return fmt::format(
      "{{name: {}, exactly: {{deviceClassName: gpu, allocationMode: {}, selectors: [{{cel: {{expression: '{}'}}}}]}}}}",
      name, mode, selector);
}

}  // namespace

TEST_CASE("the search for devices counts each that it looks at, also those that don't do") {
  pool_world w(100);
  auto claim = pool_world::claim_of(a_request("any", "true") + ", " + a_request("none", "false"));
  // Each of a hundred for the first, and then all others for the second.
  std::uint64_t enough = 20'000, few = 5'000;
  CHECK(w.allocate(std::span(&claim, 1), enough).what == device_allocation::kind::none);
  CHECK(enough < 10'000);
  CHECK(w.allocate(std::span(&claim, 1), few).what == device_allocation::kind::given_up);
  CHECK(few == 0);
}

TEST_CASE("the search for devices counts what selectors cost, whatever asks for them") {
  pool_world w(20);
  constexpr auto costly =
      "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, a + b + c < 0 || true)))";
  for (auto mode : {"ExactCount, count: 20", "All"}) {
    auto cheap = w.steps_for(a_request("r", "true", mode));
    CHECK(cheap < 2'000);
    CHECK(w.steps_for(a_request("r", costly, mode)) > 20 * cheap / 2);
  }
}

TEST_CASE("the search for devices goes only so deep, however many claims a pod has") {
  pool_world w(1);
  auto steps = search_steps_max;
  std::vector<device_claim_ref> claims(200'000, pool_world::claim_of(""));
  CHECK(w.allocate(claims, steps).what == device_allocation::kind::given_up);
  claims.resize(500);
  steps = search_steps_max;
  CHECK(w.allocate(claims, steps).what == device_allocation::kind::found);
}

TEST_CASE("the search for devices comes to the same however often it is interrupted, and a turn is short") {
  for (std::string_view requests :
       {"{name: a, exactly: {deviceClassName: gpu, allocationMode: ExactCount, count: 3}}",
        "{name: a, firstAvailable: [{name: x, deviceClassName: gpu, allocationMode: ExactCount, count: 30}, {name: y, "
        "deviceClassName: gpu, allocationMode: ExactCount, count: 2}]}, {name: b, exactly: {deviceClassName: gpu, "
        "allocationMode: ExactCount, count: 5}}",
        "{name: all, exactly: {deviceClassName: gpu, allocationMode: All}}",
        "{name: a, exactly: {deviceClassName: gpu, allocationMode: ExactCount, count: 4}}, {name: none, exactly: "
        "{deviceClassName: gpu, allocationMode: ExactCount, count: 1, selectors: [{cel: {expression: 'false'}}]}}"}) {
    CAPTURE(requests);
    pool_world w(12);
    auto claim = pool_world::claim_of(requests);
    auto first = search_steps_max, whole = search_steps_max, parts = search_steps_max;
    (void)w.allocate(std::span(&claim, 1), first);  // selectors are compiled once
    w.turns = 0;
    auto one = w.allocate(std::span(&claim, 1), whole);
    CHECK(w.turns == 1);
    w.longest = w.turns = 0;
    auto many = w.allocate(std::span(&claim, 1), parts, 7);
    CHECK(w.turns > 1);
    CHECK(w.longest <= 7 + 32);
    CHECK(one.what == many.what);
    CHECK(one.results == many.results);
    CHECK(whole == parts);
  }
}

TEST_CASE("an attempt that needs many turns is gone on with, and others' devices aren't given again") {
  kit::world w;
  w.cluster.set_node(a_node("a"));
  auto slice = yaml(
      "{metadata: {name: s}, spec: {driver: gpu.example.com, nodeName: a, pool: {name: a, generation: 1, "
      "resourceSliceCount: 1}}}");
  json::array devices;
  constexpr int many = 200;
  for (int i = 0; i < many; ++i)
    devices.push_back(
        json::object{{"name", fmt::format("d{:03}", i)},
                     {"attributes", json::object{{"kind", json::object{{"int", i < many - 4 ? i : 1000}}}}}});
  slice.member("spec").set("devices", std::move(devices));
  w.cluster.devices().set_slice(slice);
  w.cluster.devices().set_class(yaml("{metadata: {name: gpu}, spec: {}}"));
  // Four that are alike: the last ones alone are.
  w.cluster.devices().set_claim(
      yaml("{metadata: {name: c, namespace: default, uid: c}, spec: {devices: {requests: [{name: r, exactly: "
           "{deviceClassName: gpu, allocationMode: ExactCount, count: 2}}, {name: q, exactly: {deviceClassName: gpu, "
           "allocationMode: ExactCount, count: 2}}], constraints: [{matchAttribute: gpu.example.com/kind}]}}}"));
  auto p = w.cluster.read_pod(kit::a_pod("p", "resourceClaims: [{name: g, resourceClaimName: c}]"), {});
  auto& by = w.settings.profiles.front();
  auto found = place(by, *p, w.cluster, w.random);
  while (found.unfinished) found = place(by, *p, w.cluster, w.random, std::move(found));
  REQUIRE(found.node);
  auto plan = device_plan_on(by, found.states, "a");
  REQUIRE(plan.claims.size() == 1);
  auto& results = plan.claims[0].allocation["devices"]["results"];
  CHECK(results[0]["device"].as_string() == "d196");
  const auto began = w.cluster.devices().takings();
  CHECK(still_free(std::span(&plan.claims[0].allocation, 1), w.cluster.devices(), began));
  // Somebody else gets one of them before it is written.
  w.cluster.devices().set_claim(
      yaml("{metadata: {name: o, namespace: default, uid: o}, status: {allocation: {devices: {results: [{request: r, "
           "driver: gpu.example.com, pool: a, device: d196}]}}}}"));
  CHECK_FALSE(still_free(std::span(&plan.claims[0].allocation, 1), w.cluster.devices(), began));
  auto again = fits(by, found.states, *p, *w.cluster.find_node("a"), w.cluster);
  while (again.why.what == verdict::kind::unfinished) {
    found.unfinished = true;
    found = place(by, *p, w.cluster, w.random, std::move(found));
    again = fits(by, found.states, *p, *w.cluster.find_node("a"), w.cluster);
  }
  CHECK(again.why.reasons == std::vector<std::string>{"cannot allocate all claims"});
}

TEST_CASE("a claim for a pod's extended resources is one of the pod's namespace, whoever else writes its uid") {
  devices_view v;
  v.set_claim(
      yaml("{metadata: {name: x, namespace: other, uid: u, resourceVersion: '1', annotations: "
           "{resource.kubernetes.io/extended-resource-claim: 'true'}, ownerReferences: [{apiVersion: v1, kind: Pod, "
           "name: p, uid: pod, controller: true}]}, spec: {}}"));
  CHECK(v.claim_for_resources("other", "pod"));
  CHECK_FALSE(v.claim_for_resources("default", "pod"));
  CHECK_FALSE(v.claim_for_resources("zz", "pod"));
}
