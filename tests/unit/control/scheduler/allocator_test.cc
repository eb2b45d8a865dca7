// What a search for devices may cost: counted, not timed.
#include "control/scheduler/devices/allocator.h"

#include <fmt/format.h>

#include "control/scheduler/devices/limits.h"
#include "unit/control/scheduler/kit.h"

using namespace kedge;
using namespace kedge::control::scheduler;
using kit::a_node, kit::yaml;

namespace {

// A node with so many devices, and a class for all of them.
struct pool_world {
  cluster_view cluster;
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
  device_allocation allocate(std::span<const device_claim_ref> claims, std::uint64_t& steps) {
    return allocate_devices(claims, *cluster.find_node("a"), cluster.devices(), steps);
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
