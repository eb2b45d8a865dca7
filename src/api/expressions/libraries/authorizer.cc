#include "api/expressions/authorizer.h"

#include "api/expressions/libraries/libraries.h"
#include "base/strings.h"
#include "meta/names.h"

namespace kedge::api::expressions {

namespace {

using cel::value;
using args = std::span<const value>;

// A question in the making, with whom to ask. Two are the same only if they are one.
struct asking {
  const access_host* host;
  access_question q;
  bool operator==(const asking&) const { return false; }
};
struct decision {
  access_answer answer;
  bool operator==(const decision&) const { return false; }
};

const cel::type& path_check_type() {
  static const cel::type t = cel::type::object("kubernetes.authorization.PathCheck");
  return t;
}
const cel::type& group_check_type() {
  static const cel::type t = cel::type::object("kubernetes.authorization.GroupCheck");
  return t;
}
const cel::type& decision_type() {
  static const cel::type t = cel::type::object("kubernetes.authorization.Decision");
  return t;
}

// The question with one thing more said.
template <typename F>
value refined(args a, const cel::type& as, cel::arena& memory, F say) {
  asking next = content_of<asking>(a[0]);
  say(next.q);
  return own(as, std::move(next), memory);
}

value path(args a, cel::arena& memory) {
  if (trim(a[1].as_text()).empty()) return value::error(memory, "path must not be empty");
  return refined(a, path_check_type(), memory, [&](access_question& q) { q.path = a[1].as_text(); });
}

value group(args a, cel::arena& memory) {
  return refined(a, group_check_type(), memory, [&](access_question& q) { q.group = a[1].as_text(); });
}

value service_account(args a, cel::arena& memory) {
  if (!check_dns1123_subdomain(a[2].as_text()).empty()) return value::error(memory, "Invalid service account name");
  if (!check_dns1123_label(a[1].as_text()).empty()) return value::error(memory, "Invalid service account namespace");
  return refined(a, authorizer_type(), memory, [&](access_question& q) {
    q.service_account_namespace = std::string(a[1].as_text());
    q.service_account_name = std::string(a[2].as_text());
  });
}

value resource(args a, cel::arena& memory) {
  if (trim(a[1].as_text()).empty()) return value::error(memory, "resource must not be empty");
  return refined(a, resource_check_type(), memory, [&](access_question& q) {
    q.is_resource = true;
    q.resource = a[1].as_text();
  });
}

template <std::string access_question::* member>
value with(args a, cel::arena& memory) {
  return refined(a, resource_check_type(), memory, [&](access_question& q) { q.*member = a[1].as_text(); });
}

value check(args a, cel::arena& memory) {
  asking now = content_of<asking>(a[0]);
  now.q.verb = a[1].as_text();
  return own(decision_type(), decision{now.host->check(now.q)}, memory);
}

const access_answer& answer_of(args a) { return content_of<decision>(a[0]).answer; }

value allowed(args a, cel::arena&) { return value::boolean(answer_of(a).is == access_answer::verdict::allow); }
value reason(args a, cel::arena&) { return value::string(answer_of(a).reason); }
value errored(args a, cel::arena&) { return value::boolean(answer_of(a).error.has_value()); }
value error_text(args a, cel::arena&) {
  return value::string(answer_of(a).error ? std::string_view(*answer_of(a).error) : std::string_view());
}

}  // namespace

const cel::type& authorizer_type() {
  static const cel::type t = cel::type::object("kubernetes.authorization.Authorizer");
  return t;
}
const cel::type& resource_check_type() {
  static const cel::type t = cel::type::object("kubernetes.authorization.ResourceCheck");
  return t;
}

cel::value authorizer_value(const access_host& host, cel::arena& memory) {
  return own(authorizer_type(), asking{&host, {}}, memory);
}

cel::value resource_check_value(const access_host& host, access_question about, cel::arena& memory) {
  about.is_resource = true;
  return own(resource_check_type(), asking{&host, std::move(about)}, memory);
}

void add_authorizer(cel::environment::builder& b) {
  using q = access_question;
  const cel::type &string = cel::type::string(), &boolean = cel::type::boolean(), &who = authorizer_type(),
                  &check_of = resource_check_type();
  b.function({"path", {method("authorizer_path", {who, string}, path_check_type(), path)}});
  b.function({"group", {method("authorizer_group", {who, string}, group_check_type(), group)}});
  b.function({"serviceAccount", {method("authorizer_serviceaccount", {who, string, string}, who, service_account)}});
  b.function({"resource", {method("groupcheck_resource", {group_check_type(), string}, check_of, resource)}});
  b.function(
      {"subresource", {method("resourcecheck_subresource", {check_of, string}, check_of, with<&q::subresource>)}});
  b.function({"namespace", {method("resourcecheck_namespace", {check_of, string}, check_of, with<&q::namespace_>)}});
  b.function({"name", {method("resourcecheck_name", {check_of, string}, check_of, with<&q::name>)}});
  b.function(
      {"fieldSelector", {method("authorizer_fieldselector", {check_of, string}, check_of, with<&q::field_selector>)}});
  b.function(
      {"labelSelector", {method("authorizer_labelselector", {check_of, string}, check_of, with<&q::label_selector>)}});
  b.function({"check",
              {method("pathcheck_check", {path_check_type(), string}, decision_type(), check),
               method("resourcecheck_check", {check_of, string}, decision_type(), check)}});
  b.function({"errored", {method("decision_errored", {decision_type()}, boolean, errored)}});
  b.function({"error", {method("decision_error", {decision_type()}, string, error_text)}});
  b.function({"allowed", {method("decision_allowed", {decision_type()}, boolean, allowed)}});
  b.function({"reason", {method("decision_reason", {decision_type()}, string, reason)}});
}

}  // namespace kedge::api::expressions
