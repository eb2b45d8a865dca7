#include "api/admission/configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "api/admission/chain.h"
#include "api/configuration/fields.h"
#include "api/remote/kubeconfig.h"
#include "base/strings.h"
#include "meta/names.h"

namespace kedge::api {
namespace {

void read_standard(fields& f, std::string_view mode, pod_security_settings::standard& out) {
  const auto version = fmt::format("{}-version", mode);
  out = {f.text(mode, "privileged"), f.text(version, "latest")};
  if (!is_security_level(out.level))
    f.wrong(mode, fmt::format("Invalid value: {}: must be one of privileged, baseline, restricted", quote(out.level)));
  if (!is_security_version(out.version))
    f.wrong(version, fmt::format("Invalid value: {}: must be \"latest\" or \"v1.x\"", quote(out.version)));
}

std::vector<std::string> read_names(fields& f, std::string_view name, problems (*check)(std::string_view)) {
  auto out = f.texts(name);
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < out.size(); ++i) {
    auto where = fmt::format("{}[{}]", name, i);
    if (auto why = check(out[i]); !why.empty())
      f.wrong(where, fmt::format("Invalid value: {}: {}", quote(out[i]), join(why, ", ")));
    else if (!seen.insert(out[i]).second)
      f.wrong(where, fmt::format("Duplicate value: {}", quote(out[i])));
  }
  return out;
}

problems check_user(std::string_view name) {
  return name.empty() ? problems{"username must not be empty"} : problems{};
}

// One that is told something: how that is read.
struct configurable {
  std::string_view name;
  result<void> (*read)(const json::value& document, const std::string& folder, admission_configuration& out);
};

result<void> verdict_of(findings& found) {
  found.wrong.insert(found.wrong.end(), found.unknown.begin(), found.unknown.end());
  return found.verdict();
}

result<void> read_pod_security(const json::value& own, const std::string&, admission_configuration& all) {
  KEDGE_TRY(auto document,
            check_document(own, "PodSecurityConfiguration",
                           {"pod-security.admission.config.k8s.io/v1", "pod-security.admission.config.k8s.io/v1beta1",
                            "pod-security.admission.config.k8s.io/v1alpha1"}));
  findings found;
  fields f(document, "", found);
  f.text("apiVersion");
  f.text("kind");
  auto& out = all.pod_security;
  auto defaults = f.child("defaults");
  read_standard(defaults, "enforce", out.enforce);
  read_standard(defaults, "audit", out.audit);
  read_standard(defaults, "warn", out.warn);
  defaults.done();
  auto exemptions = f.child("exemptions");
  out.users = read_names(exemptions, "usernames", check_user);
  out.namespaces = read_names(exemptions, "namespaces", check_dns1123_label);
  out.runtime_classes = read_names(exemptions, "runtimeClasses", check_dns1123_subdomain);
  exemptions.done();
  f.done();
  return verdict_of(found);
}

result<void> read_event_limits(const json::value& own, const std::string&, admission_configuration& all) {
  KEDGE_TRY(auto document, check_document(own, "Configuration", {"eventratelimit.admission.k8s.io/v1alpha1"}));
  findings found;
  fields f(document, "", found);
  f.text("apiVersion");
  f.text("kind");
  using kind = event_limit::kind;
  auto limits = f.children("limits");
  if (limits.empty())
    f.wrong("limits", fmt::format("Invalid value: {}: must not be empty", f.has("limits") ? "[]" : "null"));
  for (auto& one : limits) {
    event_limit read;
    const auto type = one.text("type");
    bool known = false;
    for (auto k : {kind::server, kind::name_space, kind::user, kind::source_and_object})
      if (type == name_of(k)) {
        read.of = k;
        known = true;
      }
    if (!known)
      one.wrong("type", fmt::format("Unsupported value: {}: supported values: \"Namespace\", \"Server\", "
                                    "\"SourceAndObject\", \"User\"",
                                    quote(type)));
    read.burst = one.number("burst").value_or(0);
    read.per_second = one.number("qps").value_or(0);
    const auto buckets = one.number("cacheSize").value_or(0);
    if (read.burst <= 0) one.wrong("burst", fmt::format("Invalid value: {}: must be positive", read.burst));
    if (read.per_second <= 0) one.wrong("qps", fmt::format("Invalid value: {}: must be positive", read.per_second));
    if (read.of != kind::server && buckets < 0)
      one.wrong("cacheSize", fmt::format("Invalid value: {}: must not be negative", buckets));
    if (buckets > 0) read.buckets = static_cast<std::size_t>(buckets);
    one.done();
    all.event_limits.push_back(read);
  }
  f.done();
  return verdict_of(found);
}

// As kube-apiserver reads these numbers: -1 is never, 0 as usual.
result<duration> scaled(fields& f, std::string_view name, duration scale, duration least, duration most,
                        duration otherwise) {
  const auto given = f.number(name).value_or(0);
  if (given == -1) return duration::zero();
  if (given == 0) return otherwise;
  if (given < 0 || given > most / scale || scale * given < least)
    return fail(errc::invalid,
                fmt::format("valid value is between {} and {}, got {}", format_duration(least), format_duration(most),
                            given > most / scale ? fmt::format("{} × {}", given, format_duration(scale))
                                                 : format_duration(scale * given)));
  return scale * given;
}

result<void> read_image_policy(const json::value& own, const std::string& folder, admission_configuration& all) {
  using namespace std::chrono;
  findings found;
  fields whole(own, "", found);
  auto f = whole.child("imagePolicy");
  whole.done();
  auto& out = all.image_policy;
  auto path = f.text("kubeConfigFile");
  out.allows_on_failure = f.flag("defaultAllow").value_or(false);
  KEDGE_TRY(out.retry_pause,
            scaled(f, "retryBackoff", milliseconds(1), milliseconds(1), minutes(5), milliseconds(500)));
  KEDGE_TRY(out.allow_ttl, scaled(f, "allowTTL", seconds(1), seconds(1), minutes(30), minutes(5)));
  KEDGE_TRY(out.deny_ttl, scaled(f, "denyTTL", seconds(1), seconds(1), minutes(30), seconds(30)));
  f.done();
  KEDGE_CHECK(verdict_of(found));
  if (!path.starts_with('/') && !folder.empty()) path = folder + '/' + path;
  KEDGE_TRY(out.server, read_kubeconfig("admission-control-config-file", path));
  return {};
}

result<void> read_limited_resources(const json::value& own, const std::string&, admission_configuration& all) {
  auto document = check_document(own, "ResourceQuotaConfiguration", {"apiserver.config.k8s.io/v1"});
  if (!document)
    document = check_document(own, "Configuration",
                              {"resourcequota.admission.k8s.io/v1beta1", "resourcequota.admission.k8s.io/v1alpha1"});
  if (!document) return fail(std::move(document).error());
  findings found;
  fields f(*document, "", found);
  f.text("apiVersion");
  f.text("kind");
  for (auto& one : f.children("limitedResources")) {
    limited_resource read{one.text("apiGroup"), one.text("resource"), one.texts("matchContains"),
                          one.any("matchScopes")};
    if (read.resource.empty()) one.wrong("resource", "Required value");
    for (auto& scope : one.children("matchScopes")) {
      scope.text("scopeName");
      scope.text("operator");
      scope.texts("values");
      scope.done();
    }
    one.done();
    all.limited_resources.push_back(std::move(read));
  }
  f.done();
  return verdict_of(found);
}

constexpr configurable parts[] = {{"PodSecurity", read_pod_security},
                                  {"EventRateLimit", read_event_limits},
                                  {"ImagePolicyWebhook", read_image_policy},
                                  {"ResourceQuota", read_limited_resources}};

result<json::value> document_of(fields& plugin, const std::string& folder) {
  const auto path = plugin.text("path");
  auto& inlined = plugin.any("configuration");
  if (!path.empty() && !inlined.is_null()) return fail(errc::invalid, "path and configuration can't both be set");
  if (path.empty()) return inlined;
  KEDGE_TRY(auto text, read_configuration_file("admission-control-config-file",
                                               path.starts_with('/') || folder.empty() ? path : folder + '/' + path));
  return read_any_document(text);
}

}  // namespace

bool is_security_version(std::string_view text) noexcept {
  return text == "latest" || (text.starts_with("v1.") && parse_uint(text.substr(3)).has_value());
}

bool is_security_level(std::string_view text) noexcept {
  return text == "privileged" || text == "baseline" || text == "restricted";
}

result<admission_configuration> parse_admission(std::string_view text, const std::string& folder) {
  KEDGE_TRY(auto document, read_document(text, "AdmissionConfiguration",
                                         {"apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1alpha1"}));
  findings found;
  fields f(document, "", found);
  f.text("apiVersion");
  f.text("kind");
  admission_configuration out;
  std::set<std::string> seen;
  for (auto& plugin : f.children("plugins")) {
    const auto name = plugin.text("name");
    plugin.any("path");
    plugin.any("configuration");
    plugin.done();
    auto known = check_plugin_names({name});
    auto part = std::ranges::find(parts, name, &configurable::name);
    if (name.empty() || !known) {
      plugin.wrong("name", name.empty() ? "Required value" : "Invalid value: " + known.error().message);
    } else if (!seen.insert(name).second) {
      plugin.wrong("name", fmt::format("Duplicate value: {}", quote(name)));
    } else if (part == std::end(parts)) {
      // What it would be told keeps somebody out: not to be passed over.
      plugin.wrong("name",
                   fmt::format("Unsupported value: {}: Kedge takes no configuration of this plugin", quote(name)));
    } else {
      auto own = document_of(plugin, folder);
      auto read = own ? part->read(*own, folder, out) : result<void>(fail(std::move(own).error()));
      if (!read) plugin.wrong("configuration", read.error().message);
    }
  }
  f.done();
  found.wrong.insert(found.wrong.end(), found.unknown.begin(), found.unknown.end());
  KEDGE_CHECK(found.verdict());
  return out;
}

result<void> check_configured(const admission_configuration& all, const std::vector<std::string>& on) {
  auto is_on = [&](std::string_view name) { return std::ranges::find(on, name) != on.end(); };
  if (is_on("EventRateLimit") && all.event_limits.empty())
    return fail(errc::invalid,
                "failed to initialize admission: couldn't init admission plugin \"EventRateLimit\": limits: Invalid "
                "value: null: must not be empty");
  if (is_on("ImagePolicyWebhook") && !all.image_policy.server)
    return fail(errc::invalid,
                "failed to initialize admission: couldn't init admission plugin \"ImagePolicyWebhook\": no config "
                "specified");
  return {};
}

}  // namespace kedge::api
