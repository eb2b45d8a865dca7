#include "api/expressions/schema.h"

#include <doctest/doctest.h>

#include <string>

#include "api/expressions/authorizer.h"
#include "api/expressions/environment.h"
#include "api/expressions/limits.h"
#include "cel/program.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::api::expressions {
namespace {

TEST_CASE("names are escaped as Kubernetes does") {
  const std::pair<const char*, const char*> names[] = {{"plain", "plain"},
                                                       {"a-b", "a__dash__b"},
                                                       {"a.b", "a__dot__b"},
                                                       {"a/b", "a__slash__b"},
                                                       {"a__b", "a__underscores__b"},
                                                       {"namespace", "__namespace__"},
                                                       {"_x", "_x"},
                                                       {"a_b", "a_b"}};
  for (auto [name, escaped] : names) {
    CAPTURE(name);
    CHECK(escape_name(name) == escaped);
  }
  CHECK(!escape_name(""));
  CHECK(!escape_name("1a"));
  CHECK(!escape_name("a b"));
}

TEST_CASE("a whole object has metadata whatever its schema says") {
  const auto schema = json::parse(R"({"type":"object","properties":{"metadata":{"type":"object"}}})");
  const auto self = declaration::of(*schema, true);
  REQUIRE(self);
  const auto env = rule_environment(*self, false);
  CHECK(cel::compile(env, "self.metadata.name == self.kind"));
  CHECK(!cel::compile(env, "self.metadata.labels.x == ''"));
}

TEST_CASE("schemas without a type, and endless ones, declare nothing") {
  CHECK(!declaration::of(*json::parse(R"({"x-kubernetes-preserve-unknown-fields":true})"), false));
  std::string deep = R"({"type":"integer"})";
  for (int i = 0; i <= schema_depth_max; ++i) deep = R"({"type":"array","items":)" + deep + "}";
  CHECK(!declaration::of(*json::parse(deep), false));
}

TEST_CASE("how often data can be there follows from its size") {
  CHECK(declaration::of(*json::parse(R"({"type":"integer"})"), false)->cardinality_max() == 3 * 1024 * 1024 / 2);
  CHECK(declaration::of(*json::parse(R"({"type":"object","required":["ab"],"properties":{"ab":{"type":"boolean"}}})"),
                        false)
            ->cardinality_max() == 3 * 1024 * 1024 / 13);
}

TEST_CASE("the old value may be an optional") {
  const auto self = declaration::of(*json::parse(R"({"type":"integer"})"), false);
  const auto env = rule_environment(*self, true);
  auto program = cel::compile(env, "!oldSelf.hasValue() || oldSelf.value() <= self");
  REQUIRE(program);
  CHECK((*program)->uses("oldSelf"));
  cel::arena memory;
  cel::bindings with(*env);
  with.set("self", cel::value::integer(3)).set("oldSelf", cel::value::some(memory, cel::value::integer(4)));
  CHECK(cel::run(**program, with, memory, call_budget).result->is_false());
  with.set("oldSelf", cel::value::none());
  CHECK(cel::run(**program, with, memory, call_budget).result->is_true());
}

// Says yes to one question and remembers it.
class one_answer final : public access_host {
 public:
  access_answer check(const access_question& q) const override {
    asked = q;
    return {access_answer::verdict::allow, "because", std::nullopt};
  }
  mutable access_question asked;
};

TEST_CASE("an expression asks the authorizer what it says") {
  const auto env = admission_environment({.authorizer = true});
  auto program =
      cel::compile(env,
                   "authorizer.serviceAccount('ns', 'me').group('apps').resource('deployments').subresource('scale')"
                   ".namespace('x').name('y').labelSelector('a=b').check('update').allowed() && "
                   "authorizer.requestResource.check('get').reason() == 'because'");
  REQUIRE(program);
  CHECK((*program)->cost().max > 700'000);
  const one_answer host;
  cel::arena memory;
  cel::bindings with(*env);
  with.set("authorizer", authorizer_value(host, memory));
  with.set("authorizer.requestResource", resource_check_value(host, {.group = "g", .resource = "r"}, memory));
  const auto ran = cel::run(**program, with, memory, call_budget);
  REQUIRE(ran.result);
  CHECK(ran.result->is_true());
  CHECK(ran.cost > 700'000);
  CHECK(host.asked.group == "g");
  CHECK(host.asked.resource == "r");
  CHECK(host.asked.verb == "get");
  CHECK(host.asked.is_resource);
}

TEST_CASE("mutations are made of objects and patches") {
  const auto env = admission_environment({.patches = true});
  const auto made = [&](const char* text) {
    auto program = cel::compile(env, text);
    REQUIRE(program);
    cel::arena memory;
    const auto ran = cel::run(**program, cel::bindings(*env), memory, call_budget);
    if (!ran.result) return "error: " + ran.result.error().message;
    return json::write(*cel::to_json(*ran.result, memory));
  };
  CHECK(made("Object{spec: Object.spec{replicas: 3, ?paused: optional.none()}}") == R"({"spec":{"replicas":3}})");
  CHECK(made("[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~c'), value: {'x': 1}}]") ==
        R"([{"op":"add","path":"/metadata/labels/a~1b~0c","value":{"x":1}}])");
  auto wrong = cel::compile(env, "JSONPatch{op: 1}");
  REQUIRE(!wrong);
  CHECK(cel::issues_text(wrong.error(), "JSONPatch{op: 1}") ==
        "ERROR: <input>:1:13: expected type of field 'op' is 'string' but provided type is 'int'\n | JSONPatch{op: "
        "1}\n | ............^");
}

}  // namespace
}  // namespace kedge::api::expressions
