#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <string_view>

#include "cel/functions/libraries.h"
#include "cel/program.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::cel {
namespace {

const std::shared_ptr<const environment>& with_self() {
  static const auto env = [] {
    auto b = environment::standard();
    add_two_variable(b);
    return b.variable("self", type::dyn()).build();
  }();
  return env;
}

// The result as JSON, or "error: …".
std::string run_text(std::string_view text, std::string_view self = "null", std::uint64_t budget = 1'000'000) {
  auto compiled = compile(with_self(), text);
  if (!compiled) return issues_text(compiled.error(), text);
  auto document = json::parse(self);
  REQUIRE(document);
  arena memory;
  bindings with(**compiled);
  with.set("self", value::json(*document));
  const outcome ran = run(**compiled, with, memory, budget);
  if (!ran.result) return "error: " + ran.result.error().message;
  auto as_json = to_json(*ran.result, memory);
  return as_json ? json::write(*as_json) : "no JSON: " + std::string(kind_text(*ran.result));
}

TEST_CASE("expressions give what they say") {
  CHECK(run_text("1 + 2 * 3 - 4") == "3");
  CHECK(run_text("self.a.b[1] == 'x' && !has(self.c)", R"({"a":{"b":["w","x"]}})") == "true");
  CHECK(run_text("self.all(e, e > 0)", "[1,2,3]") == "true");
  CHECK(run_text("self.exists(e, e > 2)", "[1,2,3]") == "true");
  CHECK(run_text("self.exists_one(e, e > 2)", "[1,2,3]") == "true");
  CHECK(run_text("self.map(e, e * 2)", "[1,2,3]") == "[2,4,6]");
  CHECK(run_text("self.map(e, e > 1, e * 2)", "[1,2,3]") == "[4,6]");
  CHECK(run_text("self.filter(e, e != 2)", "[1,2,3]") == "[1,3]");
  CHECK(run_text("self.?a.?b.orValue('none')", "{}") == R"("none")");
  CHECK(run_text("{'a': 1, 'b': [2.5, 3.0]}") == R"({"a":1,"b":[2.5,3]})");
  CHECK(run_text("timestamp('2024-02-29T12:00:00Z').getFullYear()") == "2024");
  CHECK(run_text("'x' in self ? self.x : 7", R"({"x":8})") == "8");
}

TEST_CASE("what can't be done is told") {
  CHECK(run_text("1 / 0") == "error: division by zero");
  CHECK(run_text("self.x", "{}") == "error: no such key: x");
  CHECK(run_text("self[3]", "[1]") == "error: index out of bounds: 3");
  CHECK(run_text("1 + x") == "ERROR: <input>:1:5: undeclared reference to 'x' (in container '')\n | 1 + x\n | ....^");
  CHECK(run_text("self.all(e, self.all(f, e + f > 0))", "[1,2,3,4,5,6,7,8]", 20) ==
        "error: operation cancelled: actual cost limit exceeded");
}

// Costs count steps; what a step makes may be larger than the one before.
TEST_CASE("what grows without cost ends all the same") {
  std::string doubled = "self";
  for (int i = 0; i < 60; ++i) doubled = "[" + doubled + "].map(x, x + x)[0]";
  CHECK(run_text(doubled, "[1]", UINT64_MAX) == "error: operation cancelled: actual cost limit exceeded");
  std::string text = "self";
  for (int i = 0; i < 60; ++i) text = "[" + text + "].map(x, x + x)[0]";
  CHECK(run_text(text, R"("a")", UINT64_MAX) == "error: operation cancelled: actual cost limit exceeded");
  std::string compared = "self == self";
  for (int i = 0; i < 8; ++i) compared = "self.all(x" + std::to_string(i) + ", " + compared + ")";
  std::string many = "[0";
  for (int i = 1; i < 100; ++i) many += "," + std::to_string(i);
  CHECK(run_text(compared, many + "]", UINT64_MAX) == "error: operation cancelled: actual cost limit exceeded");
}

TEST_CASE("macros multiply what they copy only so far") {
  std::string text = "optional.of(1)";
  for (int i = 0; i < 100; ++i) text += ".optMap(x, x)";
  CHECK(run_text(text).contains("expression has too many nodes once its macros are expanded"));
}

TEST_CASE("maps of many keys are found in, whatever their kinds") {
  std::string map = "{";
  for (int i = 0; i < 100; ++i) map += "'k" + std::to_string(i) + "': " + std::to_string(i) + ", ";
  map += "'k7': 1000}";
  CHECK(run_text(map + ".k7 + " + map + "['k99']") == "1099");
  CHECK(run_text("has(" + map + ".k42) && !has(" + map + ".x) && size(" + map + ") == 100") == "true");
  std::string list = "[0";
  for (int i = 1; i < 64; ++i) list += "," + std::to_string(i);
  list += "]";
  CHECK(run_text("self.transformMap(i, v, v)[63] == 63 && 7u in dyn(self.transformMap(i, v, v)) && "
                 "dyn(self.transformMap(i, v, v))[63.0] == 63",
                 list) == "true");
}

}  // namespace
}  // namespace kedge::cel
