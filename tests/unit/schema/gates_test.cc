#include <doctest/doctest.h>

#include "json/parse.h"
#include "json/write.h"
#include "schema/gates.h"

namespace kedge::schema {
namespace {

std::string after(std::string_view type, std::string_view text, const char* old = nullptr) {
  auto v = *json::parse(text);
  json::value before;
  if (old) before = *json::parse(old);
  drop_gated(*find_type(type), v, old ? &before : nullptr);
  return json::write(v);
}

TEST_CASE("fields of gates that are off aren't kept, wherever they stand") {
  CHECK(after("core/v1.Pod", R"({"spec":{"schedulingGroup":{"podGroupName":"a"},"nodeName":"n"}})") ==
        R"({"spec":{"nodeName":"n"}})");
  CHECK(
      after(
          "apps/v1.Deployment",
          R"({"spec":{"template":{"spec":{"volumes":[{"name":"v","emptyDir":{"mode":448}},{"name":"w"}],"containers":[{"volumeMounts":[{"bindMountOptions":["a"]}]}]}}}})") ==
      R"({"spec":{"template":{"spec":{"volumes":[{"name":"v","emptyDir":{}},{"name":"w"}],"containers":[{"volumeMounts":[{}]}]}}}})");
  CHECK(after("core/v1.ConfigMap", R"({"data":{"mode":"1"}})") == R"({"data":{"mode":"1"}})");
}

TEST_CASE("a struct that can't stand empty goes with the field") {
  CHECK(after("core/v1.Container", R"({"name":"c","lifecycle":{"stopSignal":"SIGTERM"}})") == R"({"name":"c"})");
  CHECK(after("core/v1.Container", R"({"lifecycle":{"stopSignal":"SIGTERM","preStop":{}}})") ==
        R"({"lifecycle":{"preStop":{}}})");
  CHECK(after("core/v1.Container", R"({"lifecycle":{}})") == R"({"lifecycle":{}})");
}

TEST_CASE("what somebody had the gate on for stays") {
  auto was = R"({"spec":{"volumes":[{"emptyDir":{"mode":448}}]}})";
  CHECK(after("core/v1.Pod",
              R"({"spec":{"volumes":[{"emptyDir":{"mode":1}},{"emptyDir":{"mode":2}}],"schedulingGroup":{}}})",
              was) == R"({"spec":{"volumes":[{"emptyDir":{"mode":1}},{"emptyDir":{"mode":2}}]}})");
}

}  // namespace
}  // namespace kedge::schema
