#include "api/authorization/configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "api/configuration/fields.h"
#include "base/strings.h"
#include "meta/names.h"

namespace kedge::api {
namespace {

const std::vector<std::string> versions{"apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1",
                                        "apiserver.config.k8s.io/v1alpha1"};
const std::vector<std::string> type_names{"AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"};
constexpr std::chrono::seconds timeout_longest{30};  // kube-apiserver's

std::optional<authorizer_type> type_of(std::string_view name) {
  auto found = std::ranges::find(type_names, name);
  if (found == type_names.end()) return std::nullopt;
  return static_cast<authorizer_type>(found - type_names.begin());
}

duration read_timeout(fields& f) {
  auto time = f.time("timeout");
  if (!time || *time == duration::zero()) {
    if (!f.has("timeout") || time) f.wrong("timeout", "Required value");
    return duration::zero();
  }
  if (*time < duration::zero() || *time > timeout_longest)
    f.wrong("timeout", fmt::format("Invalid value: {}: must be > 0s and <= 30s", quote(format_duration(*time))));
  return *time;
}

duration read_ttl(fields& f, std::string_view name, duration otherwise) {
  const auto time = f.time(name).value_or(duration::zero());
  if (time < duration::zero())
    f.wrong(name, fmt::format("Invalid value: {}: must be > 0s", quote(format_duration(time))));
  return time == duration::zero() ? otherwise : time;
}

void read_connection(fields f, authorization_webhook_settings& out) {
  const auto type = f.word("type", {"InClusterConfig", "KubeConfigFile"}, true);
  const auto path = f.text("kubeConfigFile");
  f.done();
  if (type == "InClusterConfig") f.wrong("type", "Forbidden: a server of Kedge is no pod; name a KubeConfigFile");
  if (type != "KubeConfigFile") return;
  if (path.empty()) return f.wrong("kubeConfigFile", "Required value");
  if (!path.starts_with('/'))
    return f.wrong("kubeConfigFile", fmt::format("Invalid value: {}: must be an absolute path", quote(path)));
  auto read = read_kubeconfig("authorization-config", path);
  if (!read)
    f.wrong("kubeConfigFile", fmt::format("Invalid value: {}: {}", quote(path), read.error().message));
  else
    out.server = *std::move(read);
}

void read_webhook(fields f, authorization_webhook_settings& out) {
  out.timeout = read_timeout(f);
  out.authorized_ttl = read_ttl(f, "authorizedTTL", out.authorized_ttl);
  out.unauthorized_ttl = read_ttl(f, "unauthorizedTTL", out.unauthorized_ttl);
  out.keeps_authorized = f.flag("cacheAuthorizedRequests").value_or(true);
  out.keeps_unauthorized = f.flag("cacheUnauthorizedRequests").value_or(true);
  out.version = f.word("subjectAccessReviewVersion", {"v1", "v1beta1"}, true);
  if (f.word("matchConditionSubjectAccessReviewVersion", {"v1"}, false).empty() &&
      !f.has("matchConditionSubjectAccessReviewVersion") && !f.any("matchConditions").empty())
    f.wrong("matchConditionSubjectAccessReviewVersion", "Required value: required if match conditions are specified");
  out.denies_on_error = f.word("failurePolicy", {"NoOpinion", "Deny"}, true) == "Deny";
  read_connection(f.child("connectionInfo"), out);
  out.asked_if = match_conditions::read(f);
  f.done();
}

}  // namespace

result<authorization_configuration> parse_authorization(std::string_view text) {
  KEDGE_TRY(auto document, read_document(text, "AuthorizationConfiguration", versions));
  findings found;
  fields f(document, "", found);
  f.text("apiVersion");
  f.text("kind");
  authorization_configuration out;
  std::set<std::string> names, types;
  for (auto& one : f.children("authorizers")) {
    authorizer_settings read;
    const auto type = one.word("type", type_names, true);
    read.name = one.text("name");
    if (auto known = type_of(type)) read.type = *known;
    if (!type.empty() && type != "Webhook" && !types.insert(type).second)
      one.wrong("type", fmt::format("Duplicate value: {}", quote(type)));
    if (read.name.empty())
      one.wrong("name", "Required value");
    else if (!names.insert(read.name).second)
      one.wrong("name", fmt::format("Duplicate value: {}", quote(read.name)));
    else if (auto why = check_dns1123_subdomain(read.name); !why.empty())
      one.wrong("name",
                fmt::format("Invalid value: {}: authorizer name is invalid: {}", quote(read.name), join(why, ", ")));
    if (type == "Webhook" && !one.has("webhook"))
      one.wrong("webhook", "Required value: required when type=Webhook");
    else if (type == "Webhook")
      read_webhook(one.child_told_here("webhook"), read.webhook);
    else if (one.has("webhook"))
      one.wrong("webhook", "Invalid value: \"non-null\": may only be specified when type=Webhook");
    one.any("webhook");
    one.done();
    out.push_back(std::move(read));
  }
  if (out.empty()) f.wrong("authorizers", "Required value: at least one authorization mode must be defined");
  f.done();
  // Strict, as kube-apiserver reads this kind.
  found.wrong.insert(found.wrong.end(), found.unknown.begin(), found.unknown.end());
  KEDGE_CHECK(found.verdict());
  return out;
}

result<authorization_configuration> authorization_of_modes(const std::vector<std::string>& modes,
                                                           const authorization_webhook_settings& webhook) {
  authorization_configuration out;
  for (auto& mode : modes) {
    auto type = type_of(mode);
    if (mode == "ABAC") return fail(errc::unsupported, "ABAC: Kedge has no attribute-based authorizer; use RBAC");
    if (!type)
      return fail(errc::invalid,
                  fmt::format("{} is no authorization mode: there are {}", quote(mode), join(type_names, ", ")));
    if (std::ranges::any_of(out, [&](auto& known) { return known.type == *type; }))
      return fail(errc::invalid, fmt::format("{} stands twice", quote(mode)));
    if (*type == authorizer_type::webhook && !webhook.server)
      return fail(errc::invalid, "mode Webhook needs authorization-webhook-config-file");
    out.push_back({*type, *type == authorizer_type::webhook ? std::string("default") : lower(mode), webhook});
  }
  if (out.empty()) return fail(errc::invalid, "at least one mode must be named");
  return out;
}

}  // namespace kedge::api
