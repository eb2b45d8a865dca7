#include "api/admission/policy/evaluate.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/expressions/limits.h"
#include "base/strings.h"
#include "reactor/loop.h"

namespace kedge::api::policy {
namespace {

using expressions::admission_values;
using expressions::evaluation;

using results = std::vector<std::expected<cel::value, std::string>>;

// Others go between two, and between the parts of a long one.
task<evaluation::outcome> run_one(evaluation& in, const expressions::expression& e) {
  for (;;) {
    auto got = in.step(e);
    co_await reactor::maybe_yield();
    if (got) co_return *std::move(got);
  }
}

// Of each expression; an error's text when the budget ends.
template <typename List, typename Of>
task<std::expected<results, std::string>> run_all(evaluation& in, const List& list, Of of) {
  results out;
  for (auto& one : list) {
    const expressions::expression* e = of(one);
    if (!e) {
      out.emplace_back(cel::value());
      continue;
    }
    auto got = co_await run_one(in, *e);
    if (!got && got.error().out_of_budget) co_return std::unexpected(std::move(got.error().message));
    if (got)
      out.emplace_back(*got);
    else
      out.emplace_back(std::unexpected(std::move(got.error().message)));
  }
  co_return out;
}

// kube-apiserver's NewAggregate: each text once.
std::string aggregate(const std::vector<std::string>& all) {
  std::vector<std::string> told;
  for (auto& text : all)
    if (std::ranges::find(told, text) == told.end()) told.push_back(text);
  return told.size() == 1 ? told[0] : fmt::format("[{}]", join(told, ", "));
}

validated one_failure(const policy_head& p, std::string message) {
  validated out;
  out.verdicts.push_back({.denies = !p.ignores_failures, .message = std::move(message), .reason = {}});
  return out;
}

bool is_false(const std::expected<cel::value, std::string>& r) { return r && !r->is_true(); }

// What messageExpression gives, unless it is no message.
std::string told_by(const std::expected<cel::value, std::string>& r) {
  if (!r || !r->is(cel::kind::string)) return {};
  auto text = trim(r->as_text());
  if (text.size() > expressions::message_max_bytes || text.find('\n') != text.npos) return {};
  return std::string(text);
}

// Objects that an expression makes are named after the way to them, which nothing else holds them to: whatever is in
// Object.spec{…} under `template` must be an Object.spec.template.
void check_names(const cel::value& v, const std::string& path, cel::arena& memory, std::vector<std::string>& wrong) {
  if (v.is(cel::kind::opaque) && v.as_opaque().has_fields()) {
    auto& object = v.as_opaque();
    if (auto& name = object.type().name(); name != path)
      wrong.push_back(
          fmt::format("unexpected type name {}, expected {}, which matches field name path from root Object type",
                      quote(name), quote(path)));
    auto fields = object.json();
    if (!fields || !fields->is_object()) return;
    for (auto& f : *fields->object())
      check_names(object.field(f.name, memory), fmt::format("{}.{}", path, f.name), memory, wrong);
  } else if (v.is(cel::kind::list)) {
    for (std::size_t i = 0; i < v.size().value_or(0); ++i) check_names(v.at(i, memory), path, memory, wrong);
  } else if (v.is(cel::kind::map)) {
    for (std::size_t i = 0; i < v.size().value_or(0); ++i) check_names(v.value_at(i, memory), path, memory, wrong);
  }
}

// The JSON of what an expression made; an error's text for objects in the wrong place, and for what is no JSON.
std::expected<json::value, std::string> made_json(const cel::value& v, cel::arena& memory) {
  std::vector<std::string> wrong;
  if (v.is(cel::kind::opaque)) check_names(v, v.as_opaque().type().name(), memory, wrong);
  if (!wrong.empty()) return std::unexpected("type mismatch: " + join(wrong, "\n"));
  auto out = cel::to_json(v, memory);
  if (!out) return std::unexpected("JSONPath valueExpression evaluated to a type that could not marshal to JSON");
  return *std::move(out);
}

void take_notes(validated& out, const validating_policy& p, const results& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    auto& v = values[i];
    if (!v) {
      if (!p.ignores_failures) out.failed_notes.push_back(v.error());
    } else if (v->is(cel::kind::string)) {
      if (auto text = trim(v->as_text()); !text.empty()) out.notes.push_back({p.annotations[i].key, std::string(text)});
    } else if (!v->is(cel::kind::null)) {
      out.failed_notes.push_back(
          fmt::format("valueExpression '{}' resulted in unsupported return type: {}. Return type "
                      "must be either string or null.",
                      p.annotations[i].value.text, cel::kind_text(*v)));
    }
  }
}

}  // namespace

task<std::expected<bool, std::string>> meets_conditions(const policy_head& p, const admission_values& values) {
  if (p.conditions.empty()) co_return true;
  // They don't see the namespace.
  auto seen = values;
  seen.home = nullptr;
  cel::arena memory;
  evaluation in(*p.all, seen, memory, expressions::match_conditions_budget);
  auto all = co_await run_all(in, p.conditions, [](auto& c) { return &c.is; });
  std::vector<std::string> wrong;
  if (!all) {
    wrong.push_back(std::move(all.error()));
  } else {
    for (auto& one : *all) {
      if (one && one->is_false()) co_return false;
      if (!one) wrong.push_back(one.error());
    }
  }
  if (wrong.empty()) co_return true;
  if (p.ignores_failures) co_return false;
  co_return std::unexpected(aggregate(wrong));
}

task<validated> evaluate(const validating_policy& p, const admission_values& values) {
  auto meets = co_await meets_conditions(p, values);
  if (!meets) co_return one_failure(p, std::move(meets.error()));
  validated out;
  if (!*meets) co_return out;

  cel::arena memory;
  evaluation in(*p.all, values, memory, expressions::object_budget);
  auto held = co_await run_all(in, p.validations, [](auto& v) { return &v.is; });
  if (!held) co_return one_failure(p, std::move(held.error()));
  // Messages and annotations see no authorizer.
  auto seen = values;
  seen.access = nullptr;
  results told(held->size());
  std::string untold;
  if (std::ranges::any_of(*held, is_false)) {
    evaluation telling(*p.all, seen, memory, in.left());
    auto messages = co_await run_all(telling, p.validations, [](auto& v) { return v.tells ? &*v.tells : nullptr; });
    if (messages)
      told = *std::move(messages);
    else
      untold = "failed messageExpression: " + messages.error();
  }
  for (std::size_t i = 0; i < held->size(); ++i) {
    auto& one = (*held)[i];
    auto& v = p.validations[i];
    auto& verdict = out.verdicts.emplace_back();
    if (!one || !untold.empty()) {
      verdict.denies = !p.ignores_failures;
      verdict.message = one ? untold : one.error();
    } else if (is_false(one)) {
      verdict.denies = true;
      verdict.reason = v.reason;
      verdict.message = told_by(told[i]);
      if (verdict.message.empty()) verdict.message = v.message;
      if (verdict.message.empty()) verdict.message = fmt::format("failed expression: {}", trim(v.is.text));
    }
  }
  if (p.annotations.empty()) co_return out;
  evaluation noting(*p.all, seen, memory, expressions::object_budget);
  auto notes = co_await run_all(noting, p.annotations, [](auto& a) { return &a.value; });
  if (!notes) co_return one_failure(p, std::move(notes.error()));
  take_notes(out, p, *notes);
  co_return out;
}

task<std::expected<json::value, std::string>> evaluate(const mutating_policy& p, const mutation& m,
                                                       const admission_values& values) {
  if (!m.is.program) co_return std::unexpected(m.is.wrong);
  cel::arena memory;
  evaluation in(*p.all, values, memory, expressions::object_budget);
  auto got = co_await run_one(in, m.is);
  if (!got) co_return std::unexpected(std::move(got.error().message));
  if (m.as == mutation::form::apply) co_return made_json(*got, memory);
  json::array patch;
  for (std::size_t i = 0; i < got->size().value_or(0); ++i) {
    auto step = got->at(i, memory);
    auto operation = cel::to_json(step, memory);
    if (!operation) co_return made_json(step, memory);
    if (operation->find("value") && step.is(cel::kind::opaque)) {
      auto v = made_json(step.as_opaque().field("value", memory), memory);
      if (!v) co_return v;
      operation->set("value", *std::move(v));
    }
    patch.push_back(*std::move(operation));
  }
  co_return patch;
}

}  // namespace kedge::api::policy
