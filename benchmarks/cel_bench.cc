// cel_bench.cc: what a usual rule of a custom resource takes to evaluate, compiled once: five comparisons and an `all`
// over ten elements, on a document as it was parsed. The same rule through cel-go: `go test -bench . -run '^$'` in
// tests/answers/cel.

#include <benchmark/benchmark.h>

#include "api/expressions/limits.h"
#include "api/expressions/schema.h"
#include "cel/program.h"
#include "json/parse.h"

namespace kedge::api::expressions {
namespace {

constexpr const char* schema =
    R"({"type":"object","properties":{"replicas":{"type":"integer"},"min":{"type":"integer"},"max":{"type":"integer"},
        "name":{"type":"string","maxLength":63},"ratio":{"type":"number"},
        "ports":{"type":"array","maxItems":10,"items":{"type":"integer"}}}})";
constexpr const char* document =
    R"({"replicas":3,"min":1,"max":5,"name":"app","ratio":1.5,"ports":[80,443,8080,8443,9090,9091,9092,9093,9094,9095]})";
constexpr const char* rule =
    "self.replicas >= self.min && self.replicas <= self.max && self.min > 0 && self.name != 'x' && self.ratio < 3.0 && "
    "self.ports.all(p, p > 0)";

void usual_rule(benchmark::State& state) {
  const auto declared = declaration::of(*json::parse(schema), false);
  const auto env = rule_environment(*declared, false);
  const auto program = *cel::compile(env, rule, &declared->sizes());
  const auto self = *json::parse(document);
  for (auto _ : state) {
    cel::arena memory;
    cel::bindings with(*program);
    with.set("self", declared->read(self, memory));
    benchmark::DoNotOptimize(cel::run(*program, with, memory, call_budget));
  }
}
BENCHMARK(usual_rule);

void compile_rule(benchmark::State& state) {
  const auto declared = declaration::of(*json::parse(schema), false);
  const auto env = rule_environment(*declared, false);
  for (auto _ : state) benchmark::DoNotOptimize(cel::compile(env, rule, &declared->sizes()));
}
BENCHMARK(compile_rule);

}  // namespace
}  // namespace kedge::api::expressions

BENCHMARK_MAIN();
