#include "api/authorization/authorization.h"

#include "api/authorization/limits.h"
#include "api/registry/registry.h"
#include "base/assert.h"
#include "base/strings.h"

namespace kedge::api {

std::string authorized::key() const { return what_->key(asked_.ns, asked_.name); }
std::string authorized::prefix() const { return what_->prefix(asked_.ns); }

authorized authorized::narrowed(std::string name) const {
  kedge_assert(asked_.name.empty() || asked_.name == name);
  auto out = *this;
  out.asked_.name = std::move(name);
  return out;
}

api_result<authorized> permission::on(const served& what, const request_info& shape) && {
  auto& a = asked_;
  if (!what.namespaced()) {
    // A Namespace's path names it twice: as the object, and as the namespace in which a role may allow it.
    if (!a.ns.empty() && !shape.is_the_namespace) return fail(no_such_resource());
  } else if (a.ns.empty()) {
    if (shape.names_one) return fail(no_such_resource());
    if (a.verb != "list" && a.verb != "watch") return fail(method_not_allowed());
  }
  return authorized(what, std::move(a));
}

task<decision> decide(authorizer& may, const attributes& a, const store::snapshot& cluster) {
  auto d = may.authorize(a, cluster);
  for (int i = 0; may.has_open_question() && i < open_questions_max; ++i) {
    co_await may.answer_open_question();
    d = may.authorize(a, cluster);
  }
  co_return d;
}

task<api_result<permission>> authorization::ask(attributes what, decision& verdict) {
  verdict = may_.authorize(what, objects_.current());
  if (may_.has_open_question()) verdict = co_await decide(may_, what, objects_.current());
  if (verdict.what != decision::kind::allow) {
    // What this core sees may lag behind by a moment: a refusal looks at the newest state.
    auto newest = co_await objects_.latest();
    if (newest) verdict = co_await decide(may_, what, *newest);
  }
  if (verdict.what != decision::kind::allow && !verdict.error.empty()) co_return fail(internal_error(verdict.error));
  if (verdict.what != decision::kind::allow) co_return fail(forbidden_status(what, verdict.reason));
  co_return permission(std::move(what));
}

task<api_result<authorized>> authorization::also(const authorized& to, std::string verb) {
  auto wanted = to.asked();
  wanted.verb = std::move(verb);
  decision verdict;
  KEDGE_CO_TRY(auto allowed, co_await ask(std::move(wanted), verdict));
  co_return authorized(to.what(), std::move(allowed.asked_));
}

authorized authorization::own(const user_ref& as, std::string_view verb, const served& what, std::string ns,
                              std::string name, std::string_view subresource) {
  attributes a;
  a.user = as;
  a.verb = verb;
  a.is_resource = true;
  a.api_group = what.group;
  a.api_version = what.version;
  a.resource = what.resource;
  a.subresource = subresource;
  a.ns = std::move(ns);
  a.name = std::move(name);
  return authorized(what, std::move(a));
}

status forbidden_status(const attributes& a, std::string_view reason) {
  std::string text = "User " + quote(a.user->name) + " cannot " + a.verb;
  if (!a.is_resource) {
    text += " path " + quote(a.path);
  } else {
    text += " resource " + quote(a.subresource.empty() ? a.resource : a.resource + '/' + a.subresource) +
            " in API group " + quote(a.api_group);
    text += a.ns.empty() ? " at the cluster scope" : " in the namespace " + quote(a.ns);
  }
  if (!reason.empty()) text += ": " + std::string(reason);
  return forbidden(a.api_group, a.is_resource ? std::string_view(a.resource) : std::string_view(), a.name, text);
}

}  // namespace kedge::api
