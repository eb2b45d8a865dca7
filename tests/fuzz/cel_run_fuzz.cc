// cel_run_fuzz.cc: an expression on the first line, and behind it the JSON that it runs on, within a budget: it ends,
// gives the same each time, and what is within the budget cost no more than that.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/expressions/environment.h"
#include "base/assert.h"
#include "cel/program.h"
#include "json/parse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto line = text.find('\n');
  if (line == text.npos) return 0;
  auto document = json::parse(text.substr(line + 1));
  if (!document) return 0;
  static const auto env = api::expressions::base_environment()->extend().variable("self", cel::type::dyn()).build();
  auto compiled = cel::compile(env, text.substr(0, line));
  if (!compiled) return 0;
  constexpr std::uint64_t budget = 10'000;
  const auto run = [&](cel::arena& memory) {
    return cel::run(**compiled, cel::bindings(*env).set("self", cel::value::json(*document)), memory, budget);
  };
  cel::arena memory, other;
  const auto first = run(memory), second = run(other);
  kedge_assert(first.cost == second.cost && first.result.has_value() == second.result.has_value());
  if (first.result) {
    kedge_assert(first.cost <= budget);
    (void)cel::to_json(*first.result, memory);
  } else {
    kedge_assert(!first.result.error().message.empty() &&
                 first.result.error().message == second.result.error().message);
  }
  return 0;
}
