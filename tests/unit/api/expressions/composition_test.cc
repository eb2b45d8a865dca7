// An expression in steps: between two of them others have their turn, and what comes out is what comes of it at once.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "api/expressions/composition.h"
#include "api/expressions/limits.h"
#include "cel/limits.h"
#include "json/value.h"

namespace kedge::api::expressions {
namespace {

constexpr std::size_t items = 200;

json::value object_with_items() {
  json::array list;
  for (std::size_t i = 0; i < items; ++i) list.emplace_back(static_cast<std::int64_t>(i));
  return json::object{{"items", std::move(list)}};
}

// What a variable of this text costs is more than a part of it may, and less than an expression may.
constexpr std::string_view heavy = "object.items.all(a, object.items.all(b, a + b >= 0 && a + b < 10000))";

struct outcome_of_steps {
  std::size_t steps = 0;
  std::string text;  // the value, or what is wrong
  std::uint64_t cost = 0;
};

outcome_of_steps run(const composition& all, const expression& e, std::uint64_t budget = object_budget) {
  const auto object = object_with_items();
  const admission_values values{.object = &object};
  cel::arena memory;
  evaluation in(all, values, memory, budget);
  outcome_of_steps out;
  for (;;) {
    ++out.steps;
    auto done = in.step(e);
    if (!done) continue;
    out.cost = budget - in.left();
    out.text = !*done                            ? done->error().message
               : (*done)->is(cel::kind::boolean) ? ((*done)->is_true() ? "true" : "false")
               : (*done)->is(cel::kind::integer) ? fmt::format("{}", (*done)->as_integer())
                                                 : "another";
    return out;
  }
}

TEST_CASE("heavy variables take several steps, and an expression is worth what it is at once") {
  composition all(false);
  all.add("first", heavy);
  all.add("second", fmt::format("variables.first && {}", heavy));
  all.add("light", "size(object.items)");
  all.add("wrong", "object.nothing == 1");
  struct {
    std::string_view text;
    bool heavy;
    std::string_view result;
  } const cases[] = {
      {"variables.light == 200", false, "true"},
      {"variables.first", true, "true"},
      {"variables.second && variables.first", true, "true"},
      // What was cut short is no error that another operand makes up for, and no value.
      {"variables.second || true", true, "true"},
      {"!variables.second", true, "false"},
      {"variables.second ? false : true", true, "false"},
      {"object.items.exists(i, variables.first && i == 199)", true, "true"},
      {"variables.wrong || variables.first", true, "true"},
      {"variables.light > 1000 && variables.first", false, "false"},
      {heavy, true, "true"},
      // Comparing costs next to nothing, and takes time: it is cut as well.
      {"object.items.all(a, [object.items] == [object.items])", true, "true"},
  };
  for (auto& c : cases) {
    CAPTURE(c.text);
    auto e = all.compile(c.text, boolean_result());
    REQUIRE_MESSAGE(e.program, e.wrong);
    auto got = run(all, e);
    CHECK(got.text == c.result);
    CHECK((got.steps > 1) == c.heavy);
  }
}

TEST_CASE("each variable is paid for once, however many steps it took") {
  composition all(false);
  all.add("first", heavy);
  all.add("second", fmt::format("variables.first && {}", heavy));
  auto one = run(all, all.compile("variables.first", boolean_result()));
  auto both = run(all, all.compile("variables.second && variables.first", boolean_result()));
  CHECK(one.cost > cel::part_work);
  CHECK(both.cost > 2 * one.cost - 100);
  CHECK(both.cost < 2 * one.cost + 100);
  auto short_of = run(all, all.compile("variables.second", boolean_result()), one.cost + one.cost / 2);
  CHECK(short_of.text.find("running out of cost budget") != std::string::npos);
}

TEST_CASE("an expression that nobody waits for any more ends where it is, and another is begun anew") {
  composition all(false);
  all.add("first", heavy);
  auto slow = all.compile("variables.first && " + std::string(heavy), boolean_result());
  auto quick = all.compile("size(object.items) == 200", boolean_result());
  const auto object = object_with_items();
  const admission_values values{.object = &object};
  cel::arena memory;
  {
    evaluation left(all, values, memory, object_budget);
    CHECK_FALSE(left.step(slow));
  }
  evaluation in(all, values, memory, object_budget);
  CHECK_FALSE(in.step(slow));
  auto done = in.step(quick);
  REQUIRE(done);
  CHECK((*done)->is_true());
  CHECK(in.run(slow)->is_true());
}

TEST_CASE("variables may build on each other however deep, but none on itself") {
  constexpr int many = 20'000;
  composition all(false);
  all.add("v0", "1");
  for (int i = 1; i < many; ++i) all.add(fmt::format("v{}", i), fmt::format("variables.v{} + 1", i - 1));
  auto last = fmt::format("variables.v{}", many - 1);
  CHECK(run(all, all.compile(last, {})).text == fmt::format("{}", many));
  all.add("v0", last);
  auto circle = run(all, all.compile(last, {})).text;
  CHECK_MESSAGE(circle.find("asks for itself") != std::string::npos, circle.substr(0, 500));
}

// Says yes to whoever asks about its resource.
class of_pods final : public access_host {
 public:
  access_answer check(const access_question& q) const override {
    return {q.resource == "pods" ? access_answer::verdict::allow : access_answer::verdict::no_opinion, {}, {}};
  }
};

TEST_CASE("what an expression names is there, whatever those before it in the same evaluation named") {
  composition all(true);
  all.add("sum", "object.a + params.a");
  const json::value object = json::object{{"a", 1}}, old = json::object{{"a", 2}}, params = json::object{{"a", 3}},
                    request = json::object{{"name", "n"}},
                    home = json::object{{"metadata", json::object{{"name", "home"}}}};
  const of_pods host;
  const access_question pods{.resource = "pods"};
  const admission_values values{.object = &object,
                                .old = &old,
                                .request = &request,
                                .params = &params,
                                .home = &home,
                                .access = &host,
                                .resource = &pods};
  cel::arena memory;
  evaluation in(all, values, memory, object_budget);
  for (auto text : {"object.a == 1", "oldObject.a == 2", "params.a == 3", "request.name == 'n'",
                    "namespaceObject.metadata.name == 'home'", "variables.sum == 4",
                    "!authorizer.group('').resource('nodes').check('get').allowed()",
                    "authorizer.group('').resource('pods').check('get').allowed()",
                    "authorizer.requestResource.check('get').allowed()", "object.a == 1 && variables.sum == 4"}) {
    CAPTURE(text);
    auto e = all.compile(text, boolean_result());
    REQUIRE_MESSAGE(e.program, e.wrong);
    auto got = in.run(e);
    REQUIRE_MESSAGE(got, got.error().message);
    CHECK(got->is_true());
  }
}

TEST_CASE("turns that cost nothing end, too") {
  composition all(false);
  constexpr std::string_view inner = "object.items.exists_one(b, false)";
  auto e = all.compile(
      fmt::format("object.items.exists_one(a, object.items.exists_one(c, object.items.exists_one(d, {})))", inner),
      boolean_result());
  REQUIRE_MESSAGE(e.program, e.wrong);
  CHECK(run(all, e).text.find("actual cost limit exceeded") != std::string::npos);
}

}  // namespace
}  // namespace kedge::api::expressions
