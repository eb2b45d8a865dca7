#include "api/authorization/review.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "api/authentication/limits.h"
#include "api/authorization/node.h"
#include "api/registry/lookup.h"
#include "base/strings.h"
#include "meta/internal_form.h"
#include "meta/validate.h"
#include "reactor/loop.h"

namespace kedge::api {
namespace {

constexpr std::string_view authentication = "authentication.k8s.io";
constexpr std::string_view authorization = "authorization.k8s.io";

wall_time wall_now() {
  auto home = reactor::loop::try_current();
  return home ? home->wall_now() : system_wall_time();
}

random_source& randomness() {
  auto home = reactor::loop::try_current();
  return home ? home->random() : system_random();
}

// The answer begins as the question: kind, apiVersion, metadata, spec.
json::value answer_to(const json::value& body, std::string_view group, std::string_view kind) {
  json::value out;
  out.set("kind", kind);
  out.set("apiVersion", std::string(group) + "/v1");
  auto metadata = body.find("metadata");
  out.set("metadata", metadata && metadata->is_object() ? *metadata : json::value(json::object{}));
  out.member("metadata").erase("namespace");
  if (auto spec = body.find("spec")) out.set("spec", *spec);
  return out;
}

attributes attributes_of(const user_info& user, const json::value& spec) {
  attributes a;
  a.user = user;
  if (auto& path = spec["nonResourceAttributes"]; path.is_object()) {
    a.path = path["path"].as_string();
    a.verb = path["verb"].as_string();
    return a;
  }
  auto& r = spec["resourceAttributes"];
  a.is_resource = true;
  a.verb = r["verb"].as_string();
  a.api_group = r["group"].as_string();
  a.api_version = r["version"].as_string("*");
  a.resource = r["resource"].as_string();
  a.subresource = r["subresource"].as_string();
  a.ns = r["namespace"].as_string();
  a.name = r["name"].as_string();
  auto& fields = r["fieldSelector"];
  if (auto parsed = field_selector::parse(fields["rawSelector"].as_string())) a.fields = *std::move(parsed);
  // The parsed form: all that authorizers look at is equality.
  if (auto requirements = fields["requirements"].array())
    for (auto& term : *requirements)
      if (term["operator"].as_string() == "In" && term["values"].size() == 1)
        a.fields.requirements().push_back(
            {std::string(term["key"].as_string()), std::string(term["values"][std::size_t{0}].as_string()), true});
  return a;
}

bool is_known(std::string_view op) { return op == "In" || op == "NotIn" || op == "Exists" || op == "DoesNotExist"; }

// An operator that isn't known, as a newer client's, is passed over, and its selector is none.
void note_ignored(json::value& answer, const json::value& spec) {
  std::vector<std::string> ignored;
  if (auto error = answer["status"]["evaluationError"].as_string(); !error.empty()) ignored.emplace_back(error);
  for (auto member : {"fieldSelector", "labelSelector"}) {
    auto& requirements = spec["resourceAttributes"][member]["requirements"];
    for (std::size_t i = 0; i < requirements.size(); ++i)
      if (!is_known(requirements[i]["operator"].as_string())) {
        ignored.push_back(std::string("spec.resourceAttributes.") + member + " ignored due to parse error");
        break;
      }
  }
  if (!ignored.empty())
    answer.member("status").set("evaluationError", ignored.size() == 1 ? ignored[0] : "[" + join(ignored, ", ") + "]");
}

void check_requirement(causes& out, const json::value& r, const place& at, bool of_labels) {
  auto key = r["key"].as_string(), op = r["operator"].as_string();
  auto& values = r["values"];
  const place of_key(at, "key"), of_values(at, "values");
  if (!of_labels && key.empty()) out.push_back(required(of_key, "must be specified"));
  if ((op == "In" || op == "NotIn") && values.empty())
    out.push_back(required(of_values, "must be specified when `operator` is 'In' or 'NotIn'"));
  if ((op == "Exists" || op == "DoesNotExist") && !values.empty())
    out.push_back(forbidden_value(of_values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
  if (!of_labels) return;
  add_problems(out, of_key, key, check_qualified_name(key));
  for (std::size_t i = 0; i < values.size(); ++i)
    add_problems(out, place(of_values, i), values[i], check_label_value(values[i].as_string()));
}

void check_selector(causes& out, const json::value& selector, const place& at, bool of_labels) {
  if (!selector.is_object()) return;
  auto raw = selector["rawSelector"].as_string();
  auto& requirements = selector["requirements"];
  const place here(at, "requirements");
  if (!raw.empty() && !requirements.empty())
    out.push_back(invalid_value(place(at, "rawSelector"), raw, "may not specified at the same time as requirements"));
  if (raw.empty() && requirements.empty())
    out.push_back(required(here, "when " + at.text() + " is specified, requirements or rawSelector is required"));
  for (std::size_t i = 0; i < requirements.size(); ++i)
    check_requirement(out, requirements[i], place(here, i), of_labels);
}

void check_attributes(causes& out, const json::value& spec) {
  const place at("spec"), of_resource(at, "resourceAttributes");
  const bool resource = spec["resourceAttributes"].is_object(), path = spec["nonResourceAttributes"].is_object();
  if (resource == path)
    out.push_back(invalid_value(
        at,
        path ? internal_form("authorization/v1.NonResourceAttributes", spec["nonResourceAttributes"]) : json::value(),
        "exactly one of nonResourceAttributes or resourceAttributes must be specified"));
}

void check_selectors(causes& out, const json::value& spec) {
  const place at("spec.resourceAttributes");
  auto& r = spec["resourceAttributes"];
  check_selector(out, r["fieldSelector"], place(at, "fieldSelector"), false);
  check_selector(out, r["labelSelector"], place(at, "labelSelector"), true);
}

void check_subject(causes& out, const json::value& spec) {
  check_attributes(out, spec);
  if (spec["user"].as_string().empty() && spec["groups"].empty())
    out.push_back(invalid_value("spec.user", "", "at least one of user or group must be specified"));
  check_selectors(out, spec);
}

// A question has no name, no labels, nothing that is kept.
void check_no_metadata(causes& out, const json::value& body, bool namespaced) {
  auto rest = body["metadata"].is_object() ? body["metadata"] : json::value(json::object{});
  for (auto member : {"managedFields", "creationTimestamp", "namespace"}) rest.erase(member);
  if (!rest.empty())
    out.push_back(invalid_value("metadata", body["metadata"],
                                namespaced ? "must be empty except for namespace" : "must be empty"));
}

// The kind isn't told.
status refused_question(causes found) { return invalid(authorization, "", "", std::move(found)); }

// The spec of SubjectAccessReview has the user's members under other names than UserInfo.
user_info subject_of(const json::value& spec) {
  user_info user;
  user.name = spec["user"].as_string();
  user.uid = spec["uid"].as_string();
  user.groups = string_list(spec["groups"]);
  if (auto extra = spec["extra"].object())
    for (auto& [key, values] : *extra) user.extra[lower(key)] = string_list(values);
  return user;
}

}  // namespace

json::value user_to_json(const user_info& user) {
  json::value out{json::object{}};
  if (!user.name.empty()) out.set("username", user.name);
  if (!user.uid.empty()) out.set("uid", user.uid);
  auto list = [](const std::vector<std::string>& texts) {
    json::array a;
    for (auto& text : texts) a.emplace_back(text);
    return a;
  };
  if (!user.groups.empty()) out.set("groups", list(user.groups));
  for (auto& [key, values] : user.extra) out.member("extra").set(key, list(values));
  return out;
}

bool reviews::handles(std::string_view group, std::string_view resource, std::string_view subresource) noexcept {
  if (group.empty()) return resource == "serviceaccounts" && subresource == "token";
  if (!subresource.empty()) return false;
  if (group == authentication) return resource == "tokenreviews" || resource == "selfsubjectreviews";
  return group == authorization && (resource == "subjectaccessreviews" || resource == "localsubjectaccessreviews" ||
                                    resource == "selfsubjectaccessreviews" || resource == "selfsubjectrulesreviews");
}

api_result<json::value> reviews::create(const attributes& a, const json::value& body, const store::snapshot& cluster,
                                        std::vector<std::string>* warnings) {
  if (a.resource == "serviceaccounts") return token_request(a, body, cluster, warnings);
  if (a.resource == "tokenreviews") return token_review(body, cluster);
  if (a.resource == "selfsubjectreviews") return self_subject_review(a.user, body);
  if (a.resource == "subjectaccessreviews") return subject_access_review(body, cluster);
  if (a.resource == "localsubjectaccessreviews") return local_subject_access_review(a.ns, body, cluster);
  if (a.resource == "selfsubjectaccessreviews") return self_subject_access_review(a.user, body, cluster);
  if (a.resource == "selfsubjectrulesreviews") return self_subject_rules_review(a.user, body, cluster);
  return fail(no_such_resource());
}

namespace {

json::value review_of(const json::value& body, const result<token_identity>& who) {
  auto out = answer_to(body, authentication, "TokenReview");
  json::value status{json::object{}};
  if (!who) {
    status.set("user", json::object{});
    status.set("error", who.error().message);
  } else {
    user_info user = *who->user;
    if (!user.in_group("system:authenticated")) user.groups.emplace_back("system:authenticated");
    status.set("authenticated", true);
    status.set("user", user_to_json(user));
    json::array audiences;
    for (auto& audience : who->audiences) audiences.emplace_back(audience);
    status.set("audiences", std::move(audiences));
  }
  out.set("status", std::move(status));
  return out;
}

// What is wrong with a token of ours is nobody's business.
result<token_identity> bad_token() { return fail(errc::unauthenticated, "invalid bearer token"); }

}  // namespace

api_result<json::value> reviews::token_review(const json::value& body, const store::snapshot& cluster) {
  auto& spec = body["spec"];
  auto token = spec["token"].as_string();
  if (token.empty()) return fail(bad_request("token is required for TokenReview in authentication"));
  auto who = tokens_.verify(token, string_list(spec["audiences"]), cluster, wall_now());
  return review_of(body, who ? std::move(who) : bad_token());
}

task<api_result<json::value>> reviews::token_review_by_all(json::value body, store::snapshot cluster) {
  auto own = token_review(body, cluster);
  if (!own || (*own)["status"]["authenticated"].as_bool()) co_return own;
  const auto token = std::string(body["spec"]["token"].as_string());
  const auto wanted = string_list(body["spec"]["audiences"]);
  std::vector<std::string> wrong{"invalid bearer token"};
  for (auto* source : settings_.others) {
    auto who = co_await source->identify(token, wanted);
    if (who && *who) co_return review_of(body, **std::move(who));
    if (!who) wrong.push_back(who.error().message);
  }
  if (wrong.size() == 1) co_return own;
  co_return review_of(body, fail(errc::unauthenticated, "[" + join(wrong, ", ") + "]"));
}

api_result<json::value> reviews::self_subject_review(const user_info& who, const json::value& body) {
  auto out = answer_to(body, authentication, "SelfSubjectReview");
  out.erase("spec");
  out.member("status").set("userInfo", user_to_json(who));
  return out;
}

json::value reviews::access_status(const attributes& asked, const store::snapshot& cluster) {
  auto d = authz_.authorize(asked, cluster);
  json::value status{json::object{}};
  status.set("allowed", d.what == decision::kind::allow);
  if (d.what == decision::kind::deny) status.set("denied", true);
  if (!d.reason.empty()) status.set("reason", d.reason);
  if (!d.error.empty()) status.set("evaluationError", d.error);
  return status;
}

api_result<json::value> reviews::subject_access_review(const json::value& body, const store::snapshot& cluster) {
  auto& spec = body["spec"];
  causes found;
  check_subject(found, spec);
  check_no_metadata(found, body, false);
  if (!found.empty()) return fail(refused_question(std::move(found)));
  auto out = answer_to(body, authorization, "SubjectAccessReview");
  out.set("status", access_status(attributes_of(subject_of(spec), spec), cluster));
  note_ignored(out, spec);
  return out;
}

api_result<json::value> reviews::local_subject_access_review(std::string_view ns, const json::value& body,
                                                             const store::snapshot& cluster) {
  auto& spec = body["spec"];
  auto own_ns = namespace_of(body);
  if (!own_ns.empty() && own_ns != ns)
    return fail(bad_request("the namespace of the provided object does not match the namespace sent on the request"));
  causes found;
  check_subject(found, spec);
  check_no_metadata(found, body, true);
  if (auto asked = spec["resourceAttributes"]["namespace"].as_string();
      spec["resourceAttributes"].is_object() && asked != ns)
    found.push_back(invalid_value("spec.resourceAttributes.namespace", asked, "must match metadata.namespace"));
  if (auto& path = spec["nonResourceAttributes"]; path.is_object())
    found.push_back(invalid_value("spec.nonResourceAttributes",
                                  internal_form("authorization/v1.NonResourceAttributes", path),
                                  "disallowed on this kind of request"));
  if (!found.empty()) return fail(refused_question(std::move(found)));
  auto out = answer_to(body, authorization, "LocalSubjectAccessReview");
  out.member("metadata").set("namespace", ns);
  out.set("status", access_status(attributes_of(subject_of(spec), spec), cluster));
  note_ignored(out, spec);
  return out;
}

api_result<json::value> reviews::self_subject_access_review(const user_info& who, const json::value& body,
                                                            const store::snapshot& cluster) {
  auto& spec = body["spec"];
  causes found;
  check_attributes(found, spec);
  check_selectors(found, spec);
  check_no_metadata(found, body, false);
  if (!found.empty()) return fail(refused_question(std::move(found)));
  auto out = answer_to(body, authorization, "SelfSubjectAccessReview");
  out.set("status", access_status(attributes_of(who, spec), cluster));
  note_ignored(out, spec);
  return out;
}

api_result<json::value> reviews::self_subject_rules_review(const user_info& who, const json::value& body,
                                                           const store::snapshot& cluster) {
  auto ns = body["spec"]["namespace"].as_string();
  if (ns.empty()) return fail(bad_request("no namespace on request"));
  auto rules = rules_.rules_for(who, ns, cluster);
  if (who.in_group("system:masters")) {
    rules.insert(rules.begin(), policy_rule{{"*"}, {}, {}, {}, {"*"}});
    rules.insert(rules.begin(), policy_rule{{"*"}, {"*"}, {"*"}, {}, {}});
  }
  json::array of_resources, of_paths;
  std::unordered_set<std::string> told;
  for (auto& rule : rules)
    if (told.insert(rule.text()).second)
      (rule.non_resource_urls.empty() ? of_resources : of_paths).push_back(rule.to_json());
  auto out = answer_to(body, authorization, "SelfSubjectRulesReview");
  for (auto part : {"metadata", "spec"}) out.set(part, json::object{});  // the real server gives them back empty
  json::value status;
  status.set("resourceRules", std::move(of_resources));
  status.set("nonResourceRules", std::move(of_paths));
  // What a node may do hangs on its pods: rules can't tell.
  const bool node = is_node(who);
  status.set("incomplete", node);
  if (node) status.set("evaluationError", "node authorizer does not support user rule resolution");
  out.set("status", std::move(status));
  return out;
}

namespace {

struct bound_reference {
  token_binding binding;
  bool to_pod = false;
};

// The object that a TokenRequest wants its token bound to: it must be there, be the one meant, and be for this account.
api_result<bound_reference> resolve_binding(const attributes& a, const json::value& ref,
                                            const store::snapshot& cluster) {
  bound_reference out;
  if (!ref.is_object()) return out;
  auto kind = ref["kind"].as_string(), version = ref["apiVersion"].as_string();
  auto name = std::string(ref["name"].as_string());
  auto directory = kind == "Pod" ? "pods" : kind == "Secret" ? "secrets" : kind == "Node" ? "minions" : "";
  if (version != "v1" || !*directory)
    return fail(bad_request("cannot bind token for serviceaccount " + quote(a.name) + " to object with kind " +
                            quote(kind) + " and apiVersion " + quote(version)));
  auto resource = kind == "Pod" ? "pods" : kind == "Secret" ? "secrets" : "nodes";
  auto object =
      read_object(cluster, object_key(directory, kind == "Node" ? std::string_view{} : std::string_view(a.ns), name));
  if (!object) return fail(not_found("", resource, name));
  auto uid = std::string(uid_of(*object));
  if (auto wanted = ref["uid"].as_string(); !wanted.empty() && wanted != uid)
    return fail(
        conflict("", resource, name,
                 "the UID in the bound object reference (" + std::string(wanted) +
                     ") does not match the UID in record. The object might have been deleted and then recreated"));
  if (kind == "Pod") {
    if ((*object)["spec"]["serviceAccountName"].as_string() != a.name)
      return fail(bad_request("cannot bind token for serviceaccount " + quote(a.name) +
                              " to pod running with different serviceaccount name."));
    out.to_pod = true;
    out.binding.pod = name;
    out.binding.pod_uid = uid;
    out.binding.node = (*object)["spec"]["nodeName"].as_string();
    if (!out.binding.node.empty())
      if (auto node = read_object(cluster, object_key("minions", {}, out.binding.node)))
        out.binding.node_uid = uid_of(*node);
  } else if (kind == "Secret") {
    out.binding.secret = name;
    out.binding.secret_uid = uid;
  } else {
    out.binding.node = name;
    out.binding.node_uid = uid;
  }
  return out;
}

}  // namespace

api_result<json::value> reviews::token_request(const attributes& a, const json::value& body,
                                               const store::snapshot& cluster, std::vector<std::string>* warnings) {
  if (!issuer_) return fail(no_such_resource());
  auto account = read_object(cluster, object_key("serviceaccounts", a.ns, a.name));
  if (!account) return fail(not_found("", "serviceaccounts", a.name));
  auto& spec = body["spec"];
  auto seconds = spec["expirationSeconds"].as_integer(token_seconds_default);
  std::vector<cause> causes;
  if (seconds < token_seconds_min)
    causes.push_back(invalid_value("spec.expirationSeconds", json::value(seconds),
                                   "may not specify a duration less than 10 minutes"));
  if (seconds > token_seconds_max)
    causes.push_back(invalid_value("spec.expirationSeconds", json::value(seconds),
                                   "may not specify a duration larger than 2^32 seconds"));
  if (!causes.empty()) return fail(invalid(authentication, "TokenRequest", "", std::move(causes)));
  auto bound = resolve_binding(a, spec["boundObjectRef"], cluster);
  if (!bound) return fail(std::move(bound).error());
  if (auto longest = settings_.token_seconds_longest; longest > 0 && seconds > longest) {
    if (warnings)
      warnings->push_back(fmt::format("requested expiration of {} seconds shortened to {} seconds", seconds, longest));
    seconds = longest;
  }

  token_issuer::request wanted;
  wanted.ns = a.ns;
  wanted.account = a.name;
  wanted.account_uid = uid_of(*account);
  wanted.audiences = string_list(spec["audiences"]);
  if (wanted.audiences.empty()) wanted.audiences = issuer_->api_audiences();
  wanted.seconds = seconds;
  wanted.bound = bound->binding;
  bool for_api = std::all_of(wanted.audiences.begin(), wanted.audiences.end(), [&](const std::string& audience) {
    auto& own = issuer_->api_audiences();
    return std::find(own.begin(), own.end(), audience) != own.end();
  });
  if (settings_.extends_injected && for_api && bound->to_pod && seconds == token_seconds_injected) {
    wanted.warn_after_seconds = seconds;
    wanted.seconds = token_seconds_extended;
  }
  auto now = wall_now();
  auto token = issuer_->issue(wanted, now, randomness());
  if (!token) return fail(internal_error(token.error().message));

  json::array audiences;
  for (auto& audience : wanted.audiences) audiences.emplace_back(audience);
  json::value out;
  out.set("kind", "TokenRequest");
  out.set("apiVersion", "authentication.k8s.io/v1");
  out.set("metadata", json::object{{"name", a.name}, {"namespace", a.ns}, {"creationTimestamp", format_rfc3339(now)}});
  json::value answered{json::object{}};
  answered.set("audiences", std::move(audiences));
  answered.set("expirationSeconds", seconds);
  answered.set("boundObjectRef", spec["boundObjectRef"]);
  out.set("spec", std::move(answered));
  out.member("status").set("token", std::move(*token));
  // What clients are told is when to ask again, not the year that the token really lasts.
  out.member("status").set("expirationTimestamp", format_rfc3339(now + std::chrono::seconds(seconds)));
  return out;
}

}  // namespace kedge::api
