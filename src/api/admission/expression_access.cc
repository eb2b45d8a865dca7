#include "api/admission/expression_access.h"

#include <fmt/format.h>

namespace kedge::api {
namespace {

user_ref account(const std::string& ns, const std::string& name) {
  return user_info{.name = fmt::format("system:serviceaccount:{}:{}", ns, name),
                   .uid = {},
                   .groups = {"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"},
                   .extra = {}};
}

// All that an answer follows from; parts can't run into each other, for none holds the separator.
std::string key_of(const expressions::access_question& q) {
  constexpr char between = '\0';
  std::string out;
  for (auto part : {q.service_account_namespace.value_or(""), q.service_account_name.value_or(""), q.path, q.group,
                    q.resource, q.subresource, q.namespace_, q.name, q.verb, q.field_selector, q.label_selector}) {
    out += part;
    out += between;
  }
  return out;
}

}  // namespace

expressions::access_answer expression_access::check(const expressions::access_question& q) const {
  auto [it, fresh] = known_.try_emplace(key_of(q));
  if (!fresh) return it->second;
  attributes a;
  a.user =
      q.service_account_name ? account(q.service_account_namespace.value_or(""), *q.service_account_name) : asked_.user;
  a.verb = q.verb;
  a.is_resource = q.is_resource;
  a.api_group = q.group;
  a.api_version = "*";
  a.resource = q.resource;
  a.subresource = q.subresource;
  a.ns = q.namespace_;
  a.name = q.name;
  a.path = q.path;
  if (!q.field_selector.empty())
    if (auto fields = field_selector::parse(q.field_selector)) a.fields = *std::move(fields);
  auto verdict = may_.authorize(a, cluster_);
  using answer = expressions::access_answer;
  auto is = verdict.what == decision::kind::allow  ? answer::verdict::allow
            : verdict.what == decision::kind::deny ? answer::verdict::deny
                                                   : answer::verdict::no_opinion;
  return it->second = {.is = is, .reason = std::move(verdict.reason), .error = std::nullopt};
}

expressions::access_question expression_access::about() const {
  expressions::access_question q;
  q.is_resource = true;
  q.group = asked_.api_group;
  q.resource = asked_.resource;
  q.subresource = asked_.subresource;
  q.namespace_ = asked_.ns;
  q.name = asked_.name;
  return q;
}

}  // namespace kedge::api
