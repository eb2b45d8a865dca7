#include "api/admission/policy/compiled.h"

#include "base/strings.h"

namespace kedge::api::policy {
namespace {

match_resources where_of(const json::value& v) { return v.is_object() ? match_resources(v) : match_resources(); }

// Fills in the head; the composition is what the policy's own expressions are compiled with.
std::shared_ptr<expressions::composition> compile_head(policy_head& into, const json::value& v) {
  auto& spec = v["spec"];
  into.name = v["metadata"]["name"].as_string();
  into.ignores_failures = spec["failurePolicy"].as_string() == "Ignore";
  into.params = param_kind::compile(spec["paramKind"]);
  into.where = where_of(spec["matchConstraints"]);
  auto all = std::make_shared<expressions::composition>(into.params.has_value());
  auto& variables = spec["variables"];
  for (std::size_t i = 0; i < variables.size(); ++i)
    all->add(std::string(variables[i]["name"].as_string()), variables[i]["expression"].as_string());
  auto& conditions = spec["matchConditions"];
  for (std::size_t i = 0; i < conditions.size(); ++i)
    into.conditions.push_back({std::string(conditions[i]["name"].as_string()),
                               all->compile(conditions[i]["expression"].as_string(), expressions::boolean_result())});
  into.all = all;
  return all;
}

}  // namespace

validating_policy::validating_policy(const json::value& v) {
  auto with = compile_head(*this, v);
  auto &list = v["spec"]["validations"], &notes = v["spec"]["auditAnnotations"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    validation one{.is = with->compile(list[i]["expression"].as_string(), expressions::boolean_result()),
                   .tells = std::nullopt,
                   .message = std::string(trim(list[i]["message"].as_string())),
                   .reason = std::string(list[i]["reason"].as_string("Invalid"))};
    if (auto text = list[i]["messageExpression"].as_string(); !text.empty())
      one.tells = with->compile(text, expressions::text_result(), false);
    validations.push_back(std::move(one));
  }
  for (std::size_t i = 0; i < notes.size(); ++i)
    annotations.push_back({std::string(notes[i]["key"].as_string()),
                           with->compile(notes[i]["valueExpression"].as_string(), expressions::text_or_null_result())});
}

mutating_policy::mutating_policy(const json::value& v) {
  auto with = compile_head(*this, v);
  reinvoked = v["spec"]["reinvocationPolicy"].as_string() == "IfNeeded";
  auto& list = v["spec"]["mutations"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    const bool patch = list[i]["patchType"].as_string() == "JSONPatch";
    auto text = list[i][patch ? "jsonPatch" : "applyConfiguration"]["expression"].as_string();
    mutations.push_back(
        {patch ? mutation::form::patch : mutation::form::apply,
         with->compile(text, patch ? expressions::patch_result() : expressions::object_result(), true, true)});
  }
}

binding::binding(const json::value& v)
    : name(v["metadata"]["name"].as_string()),
      policy(v["spec"]["policyName"].as_string()),
      where(where_of(v["spec"]["matchResources"])),
      params(param_reference::compile(v["spec"]["paramRef"])) {
  auto& list = v["spec"]["validationActions"];
  for (std::size_t i = 0; i < list.size(); ++i) actions.emplace_back(list[i].as_string());
}

}  // namespace kedge::api::policy
