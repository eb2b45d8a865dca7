#include "api/admission/webhook/conditions.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "api/admission/expression_access.h"
#include "api/expressions/authorizer.h"
#include "api/expressions/environment.h"
#include "api/expressions/limits.h"
#include "base/strings.h"
#include "cel/paced.h"
#include "reactor/loop.h"

namespace kedge::api::webhook {
namespace {

cel::value document(const json::value* v) { return v ? cel::value::json(*v) : cel::value::null(); }

// kube-apiserver's NewAggregate: each text once.
std::string aggregate(const std::vector<std::string>& all) {
  std::vector<std::string> told;
  for (auto& text : all)
    if (std::ranges::find(told, text) == told.end()) told.push_back(text);
  return told.size() == 1 ? told[0] : fmt::format("[{}]", join(told, ", "));
}

}  // namespace

conditions::conditions(const json::value& list) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& c =
        all_.emplace_back(one{.text = std::string(list[i]["expression"].as_string()), .program = {}, .wrong = {}});
    auto compiled = cel::compile(expressions::admission_environment({.authorizer = true}), c.text);
    if (!compiled)
      c.wrong = "compilation failed: " + cel::issues_text(compiled.error(), c.text);
    else if (auto& gives = (*compiled)->result_type(); !(gives == cel::type::boolean()))
      c.wrong = fmt::format("must evaluate to bool but got {}", gives.text());
    else
      c.program = *std::move(compiled);
  }
}

task<std::expected<bool, std::string>> conditions::hold(condition_values v) const {
  cel::arena memory;
  std::optional<expression_access> access;
  if (v.may) access.emplace(v.asked, *v.may, v.cluster);
  std::uint64_t budget = expressions::match_conditions_budget;
  std::vector<std::string> wrong;
  for (auto& c : all_) {
    co_await reactor::maybe_yield();
    if (!c.program) {
      wrong.push_back("compilation error: " + c.wrong);
      continue;
    }
    cel::bindings with(*c.program);
    with.set("object", document(v.object)).set("oldObject", document(v.old)).set("request", document(v.request));
    if (access)
      with.set("authorizer", expressions::authorizer_value(*access, memory))
          .set("authorizer.requestResource", expressions::resource_check_value(*access, access->about(), memory));
    cel::outcome ran;
    cel::paced turns;
    while (!turns.step(memory, [&] { ran = cel::run(*c.program, with, memory, expressions::call_budget); }))
      co_await reactor::maybe_yield();
    if (ran.cost > budget)
      co_return std::unexpected(
          "validation failed due to running out of cost budget, no further validation rules will be run");
    budget -= ran.cost;
    if (!ran.result)
      wrong.push_back(fmt::format("expression '{}' resulted in error: {}", c.text, ran.result.error().message));
    else if (ran.result->is_false())
      co_return false;
  }
  if (wrong.empty()) co_return true;
  co_return std::unexpected(aggregate(wrong));
}

}  // namespace kedge::api::webhook
