#include "api/authorization/match_conditions.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/authorization/limits.h"
#include "api/expressions/composition.h"
#include "api/expressions/identity.h"
#include "api/expressions/limits.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

json::value texts(const std::vector<std::string>& list) {
  json::array out;
  for (auto& text : list) out.emplace_back(text);
  return out;
}

// The review's spec with every field of text, empty ones too, so that expressions needn't ask whether they are there.
json::value spec_of(const attributes& a) {
  json::value extra{json::object{}};
  for (auto& [key, values] : a.user->extra) extra.set(key, texts(values));
  json::value spec = json::object{
      {"user", a.user->name}, {"groups", texts(a.user->groups)}, {"uid", a.user->uid}, {"extra", std::move(extra)}};
  if (!a.is_resource) {
    spec.set("nonResourceAttributes", json::object{{"path", a.path}, {"verb", a.verb}});
    return spec;
  }
  json::value resource = json::object{{"namespace", a.ns},      {"verb", a.verb},
                                      {"group", a.api_group},   {"version", a.api_version},
                                      {"resource", a.resource}, {"subresource", a.subresource},
                                      {"name", a.name}};
  json::array requirements;
  for (auto& r : a.fields.requirements())
    requirements.push_back(json::object{
        {"key", r.field}, {"operator", r.equal ? "In" : "NotIn"}, {"values", texts({std::string(r.value)})}});
  if (!requirements.empty()) resource.set("fieldSelector", json::object{{"requirements", std::move(requirements)}});
  spec.set("resourceAttributes", std::move(resource));
  return spec;
}

}  // namespace

match_conditions match_conditions::read(fields& webhook) {
  match_conditions out;
  auto list = webhook.children("matchConditions");
  if (list.size() > match_conditions_max) {
    webhook.wrong("matchConditions",
                  fmt::format("Too many: {}: must have at most {} items", list.size(), match_conditions_max));
    return out;
  }
  std::set<std::string> seen;
  for (auto& one : list) {
    const auto text = one.text("expression");
    one.done();
    if (trim(text).empty()) {
      one.wrong("expression", "Required value");
    } else if (!seen.insert(text).second) {
      one.wrong("expression", fmt::format("Duplicate value: {}", quote(text)));
    } else {
      auto made =
          expressions::compile_expression(expressions::review_environment(), text, expressions::boolean_result());
      if (made.program)
        out.all_.push_back(std::move(made.program));
      else
        one.wrong("expression", fmt::format("Invalid value: {}: {}", quote(text), made.wrong));
    }
  }
  return out;
}

std::expected<bool, std::string> match_conditions::hold(const attributes& a) const {
  if (all_.empty()) return true;
  const auto spec = spec_of(a);
  cel::arena memory;
  std::vector<std::string> wrong;
  for (auto& condition : all_) {
    cel::bindings with(*condition);
    with.set("request", cel::value::json(spec));
    auto ran = cel::run(*condition, with, memory, expressions::call_budget);
    if (!ran.result)
      wrong.push_back(fmt::format("cel evaluation error: expression '{}' resulted in error: {}", condition->text(),
                                  ran.result.error().message));
    else if (ran.result->is_false())
      return false;
  }
  if (wrong.empty()) return true;
  return std::unexpected(wrong.size() == 1 ? wrong[0] : fmt::format("[{}]", join(wrong, ", ")));
}

}  // namespace kedge::api
