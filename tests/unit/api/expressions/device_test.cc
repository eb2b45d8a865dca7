// Selectors of devices: what they see, and how large it may be.
#include "api/expressions/device.h"

#include <doctest/doctest.h>

#include "json/parse.h"

using namespace kedge;
using namespace kedge::api::expressions;

namespace {

const json::value& device() {
  static const auto made = json::parse(R"({
      "attributes": {"model": {"string": "a100"}, "index": {"int": 3}, "healthy": {"bool": true},
                     "driverVersion": {"version": "1.10.0"}, "example.com/numa": {"int": 1}},
      "capacity": {"memory": {"value": "40Gi"}}})")
                               .value();
  return made;
}

// "true", "false", or what went wrong.
std::string says(std::string_view expression) {
  auto compiled = compile_device_selector(expression);
  if (!compiled.program) return compiled.wrong;
  auto is = matches_device(*compiled.program, "gpu.example.com", device());
  return is ? (*is ? "true" : "false") : is.error();
}

}  // namespace

TEST_CASE("a selector sees a device's driver, attributes and capacity, by domain") {
  CHECK(says("device.driver == 'gpu.example.com'") == "true");
  CHECK(says("device.attributes['gpu.example.com'].model == 'a100'") == "true");
  CHECK(says("device.attributes['example.com'].numa == 1 && device.attributes['gpu.example.com'].index > 2") == "true");
  CHECK(says("device.attributes['gpu.example.com'].driverVersion.isGreaterThan(semver('1.9.9'))") == "true");
  CHECK(says("device.capacity['gpu.example.com'].memory.compareTo(quantity('40Gi')) == 0") == "true");
  CHECK(says("device.allowMultipleAllocations") == "false");
  CHECK(says("cel.bind(gpu, device.attributes['gpu.example.com'], gpu.healthy && gpu.index == 3)") == "true");
  CHECK(says("device.attributes['gpu.example.com'].healthy") == "true");
}

TEST_CASE("a domain that a device says nothing of is empty, and not there") {
  CHECK(says("has(device.attributes['other.example.com'].model)") == "false");
  CHECK(says("'other.example.com' in device.attributes") == "false");
  CHECK(says("'gpu.example.com' in device.attributes") == "true");
  CHECK(says("device.attributes['other.example.com'].size() == 0") == "true");
  CHECK(says("device.attributes.all(domain, domain.endsWith('example.com'))") == "true");
  CHECK(says("device.attributes['gpu.example.com'].nothing == 1") ==
        "no such key: nothing. consider using CEL optional chaining (.? followed by orValue()) or guarding the check "
        "with has() for optional fields");
}

TEST_CASE("what is no selector is told at once, and what would cost too much") {
  CHECK(says("1 + 1") == "must evaluate to bool or the unknown type, not int");
  CHECK(says("device.driver == 1").starts_with("compilation failed: ERROR: <input>:1:15: found no matching overload"));
  CHECK(says("device.nothing == 1").starts_with("compilation failed: ERROR: <input>:1:7: undefined field 'nothing'"));
  CHECK(!compile_device_selector("device.attributes.all(a, device.attributes.all(b, a != b || a == b))").too_costly);
  CHECK(compile_device_selector("device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, "
                                "device.attributes.all(d, a + b + c + d != ''))))")
            .too_costly);
}
