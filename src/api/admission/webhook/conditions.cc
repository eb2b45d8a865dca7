#include "api/admission/webhook/conditions.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/expressions/authorizer.h"
#include "api/expressions/environment.h"
#include "api/expressions/limits.h"
#include "base/strings.h"

namespace kedge::api::webhook {
namespace {

// What `authorizer` asks, answered by the server's own.
class access final : public expressions::access_host {
 public:
  explicit access(const condition_values& v) : values_(v) {}

  expressions::access_answer check(const expressions::access_question& q) const override {
    attributes a;
    a.user = q.service_account_name ? account(q) : values_.asked.user;
    a.verb = q.verb;
    a.is_resource = q.is_resource;
    a.api_group = q.group;
    a.api_version = "*";
    a.resource = q.resource;
    a.subresource = q.subresource;
    a.ns = q.namespace_;
    a.name = q.name;
    a.path = q.path;
    if (auto fields = field_selector::parse(q.field_selector); fields && !q.field_selector.empty())
      a.fields = *std::move(fields);
    auto verdict = values_.may->authorize(a, values_.cluster);
    using answer = expressions::access_answer;
    auto is = verdict.what == decision::kind::allow  ? answer::verdict::allow
              : verdict.what == decision::kind::deny ? answer::verdict::deny
                                                     : answer::verdict::no_opinion;
    return {.is = is, .reason = std::move(verdict.reason), .error = std::nullopt};
  }

  expressions::access_question about() const {
    auto& a = values_.asked;
    expressions::access_question q;
    q.is_resource = true;
    q.group = a.api_group;
    q.resource = a.resource;
    q.subresource = a.subresource;
    q.namespace_ = a.ns;
    q.name = a.name;
    return q;
  }

 private:
  static user_ref account(const expressions::access_question& q) {
    auto ns = q.service_account_namespace.value_or("");
    return user_info{.name = fmt::format("system:serviceaccount:{}:{}", ns, *q.service_account_name),
                     .uid = {},
                     .groups = {"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"},
                     .extra = {}};
  }
  const condition_values& values_;
};

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

std::expected<bool, std::string> conditions::hold(const condition_values& v) const {
  cel::arena memory;
  const access host(v);
  std::uint64_t budget = expressions::match_conditions_budget;
  std::vector<std::string> wrong;
  for (auto& c : all_) {
    if (!c.program) {
      wrong.push_back("compilation error: " + c.wrong);
      continue;
    }
    cel::bindings with(*c.program);
    with.set("object", document(v.object)).set("oldObject", document(v.old)).set("request", document(v.request));
    if (v.may)
      with.set("authorizer", expressions::authorizer_value(host, memory))
          .set("authorizer.requestResource", expressions::resource_check_value(host, host.about(), memory));
    auto ran = cel::run(*c.program, with, memory, expressions::call_budget);
    if (ran.cost > budget)
      return std::unexpected(
          "validation failed due to running out of cost budget, no further validation rules will be run");
    budget -= ran.cost;
    if (!ran.result)
      wrong.push_back(fmt::format("expression '{}' resulted in error: {}", c.text, ran.result.error().message));
    else if (ran.result->is_false())
      return false;
  }
  if (wrong.empty()) return true;
  return std::unexpected(aggregate(wrong));
}

}  // namespace kedge::api::webhook
