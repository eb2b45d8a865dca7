// The expressions that tests/answers/cel records from cel-go, with Kubernetes' environment: value, error and costs,
// word for word.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/expressions/environment.h"
#include "api/expressions/limits.h"
#include "api/expressions/schema.h"
#include "base/strings.h"
#include "cel/literals.h"
#include "cel/paced.h"
#include "cel/program.h"
#include "json/parse.h"

namespace kedge::api::expressions {
namespace {

using cel::kind;
using cel::value;

// As the recorder shows values.
// Each step is a part there.
constexpr std::uint64_t compared_in_parts_max = 2'000;

std::string show(const value& v, cel::arena& memory) {
  switch (v.kind()) {
    case kind::null: return "null";
    case kind::unsigned_integer: return cel::text_of(v) + "u";
    case kind::real: return "double(" + cel::text_of(v) + ")";
    case kind::string: return quote(v.as_text());
    case kind::bytes: return "bytes(" + hex(as_bytes(v.as_text())) + ")";
    case kind::duration: return "duration(" + std::to_string(v.as_nanoseconds()) + ")";
    case kind::timestamp: return "timestamp(" + cel::text_of(v) + ")";
    case kind::optional: return v.held() ? "some(" + show(*v.held(), memory) + ")" : "none";
    case kind::type: return "type(" + v.as_type().name() + ")";
    case kind::list:
    case kind::map: {
      const bool list = v.is(kind::list);
      std::vector<std::string> parts;
      for (std::size_t i = 0, n = *v.size(); i < n; ++i)
        parts.push_back(list ? show(v.at(i, memory), memory)
                             : show(v.key_at(i, memory), memory) + ": " + show(v.value_at(i, memory), memory));
      if (!list) std::ranges::sort(parts);
      return (list ? "[" : "{") + join(parts, ", ") + (list ? "]" : "}");
    }
    case kind::opaque: return v.as_opaque().type().name();
    default: return cel::text_of(v);
  }
}

struct answer {
  std::string what, text;
  std::uint64_t cost = 0;
  std::string from, to;
  bool operator==(const answer&) const = default;
};

// What `self` is, for the expressions that follow.
struct setting {
  std::unique_ptr<json::value> schema, self;
  std::shared_ptr<const declaration> declared;
  std::shared_ptr<const cel::environment> env;

  explicit setting(const json::value& line)
      : schema(std::make_unique<json::value>(line["schema"])), self(std::make_unique<json::value>(line["self"])) {
    if (schema->is_object()) {
      declared = declaration::of(*schema, false);
      REQUIRE(declared);
      env = rule_environment(*declared, false);
    } else {
      env = base_environment()->extend().variable("self", cel::type::dyn()).build();
    }
  }

  // Cut into parts wherever that can be, it costs and gives the same.
  static void check_in_parts(const cel::program& p, const cel::bindings& with, const cel::outcome& at_once,
                             const std::string& text) {
    INFO(text);
    cel::arena memory;
    cel::outcome ran;
    cel::paced turns(1);
    while (!turns.step(memory, [&] { ran = cel::run(p, with, memory, call_budget); })) continue;
    CHECK(ran.cost == at_once.cost);
    REQUIRE(ran.result.has_value() == at_once.result.has_value());
    if (ran.result)
      CHECK(show(*ran.result, memory) == show(*at_once.result, memory));
    else
      CHECK(ran.result.error().message == at_once.result.error().message);
  }

  answer run(const std::string& text) const {
    auto compiled = cel::compile(env, text, declared ? &declared->sizes() : nullptr);
    if (!compiled) {
      const bool program = !compiled.error().no_program.empty();
      return {program ? "program" : "issues", cel::issues_text(compiled.error(), text), 0, "", ""};
    }
    cel::arena memory;
    cel::bindings with(*env);
    with.set("self", declared ? declared->read(*self, memory) : value::json(*self));
    const cel::outcome ran = cel::run(**compiled, with, memory, call_budget);
    if (ran.cost <= compared_in_parts_max) check_in_parts(**compiled, with, ran, text);
    const cel::range cost = (*compiled)->cost();
    answer out{"value", "", ran.cost, std::to_string(cost.min), std::to_string(cost.max)};
    if (ran.result) {
      out.text = show(*ran.result, memory);
    } else {
      out.what = "error";
      out.text = ran.result.error().message;
    }
    return out;
  }
};

// Expressions that are known to be answered otherwise, a line each, with the reason behind a tab.
std::map<std::string, bool> departures() {
  std::map<std::string, bool> out;
  std::ifstream in(DEPARTURES);
  REQUIRE(in);
  for (std::string line; std::getline(in, line);)
    if (!line.empty() && line[0] != '#') out.emplace(line.substr(0, line.find('\t')), false);
  return out;
}

TEST_CASE("expressions are worth what they are to kube-apiserver") {
  std::ifstream in(RECORDED);
  REQUIRE(in);
  std::unique_ptr<setting> now;
  auto known = departures();
  for (std::string line; std::getline(in, line);) {
    auto parsed = json::parse(line);
    REQUIRE(parsed);
    if (parsed->is_object()) {
      now = std::make_unique<setting>(*parsed);
      continue;
    }
    const json::value& row = *parsed;
    const std::string text(row[0].as_string());
    const answer real{std::string(row[1].as_string()), std::string(row[2].as_string()),
                      static_cast<std::uint64_t>(row[3].as_integer()), std::string(row[4].as_string()),
                      std::string(row[5].as_string())};
    const answer ours = now->run(text);
    if (ours == real) continue;
    if (auto found = known.find(text); found != known.end()) {
      found->second = true;
      continue;
    }
    CAPTURE(text);
    CHECK(ours.what + " " + ours.text == real.what + " " + real.text);
    CHECK(ours.cost == real.cost);
    CHECK(ours.from + "…" + ours.to == real.from + "…" + real.to);
  }
  for (const auto& [text, seen] : known) {
    CAPTURE(text);
    CHECK(seen);  // a departure that is none any more
  }
}

}  // namespace
}  // namespace kedge::api::expressions
