#include "api/admission/configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/admission/chain.h"
#include "api/configuration/fields.h"
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

result<pod_security_settings> read_pod_security(const json::value& document) {
  findings found;
  fields f(document, "", found);
  f.text("apiVersion");
  f.text("kind");
  pod_security_settings out;
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
  found.wrong.insert(found.wrong.end(), found.unknown.begin(), found.unknown.end());
  KEDGE_CHECK(found.verdict());
  return out;
}

result<json::value> document_of(fields& plugin, const std::string& folder, std::string_view kind,
                                const std::vector<std::string>& versions) {
  const auto path = plugin.text("path");
  auto& inlined = plugin.any("configuration");
  if (!path.empty() && !inlined.is_null()) return fail(errc::invalid, "path and configuration can't both be set");
  if (path.empty()) return check_document(inlined, kind, versions);
  KEDGE_TRY(auto text, read_configuration_file("admission-control-config-file",
                                               path.starts_with('/') || folder.empty() ? path : folder + '/' + path));
  return read_document(text, kind, versions);
}

}  // namespace

bool is_security_version(std::string_view text) noexcept {
  return text == "latest" || (text.starts_with("v1.") && parse_uint(text.substr(3)).has_value());
}

bool is_security_level(std::string_view text) noexcept {
  return text == "privileged" || text == "baseline" || text == "restricted";
}

result<admission_configuration> parse_admission(std::string_view text, const std::string& folder,
                                                std::vector<std::string>& warnings) {
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
    if (auto known = check_plugin_names({name}); name.empty() || !known)
      plugin.wrong("name", name.empty() ? "Required value" : "Invalid value: " + known.error().message);
    else if (!seen.insert(name).second)
      plugin.wrong("name", fmt::format("Duplicate value: {}", quote(name)));
    else if (name == "PodSecurity") {
      auto part =
          document_of(plugin, folder, "PodSecurityConfiguration",
                      {"pod-security.admission.config.k8s.io/v1", "pod-security.admission.config.k8s.io/v1beta1",
                       "pod-security.admission.config.k8s.io/v1alpha1"});
      auto read = part ? read_pod_security(*part) : result<pod_security_settings>(fail(std::move(part).error()));
      if (read)
        out.pod_security = *std::move(read);
      else
        plugin.wrong("configuration", read.error().message);
    } else if (name == "EventRateLimit") {
      warnings.push_back(
          fmt::format("{}: {} has no effect: Kedge doesn't have this plugin yet", plugin.path_of("name"), name));
    } else {
      // What it would be told keeps somebody out: not to be passed over.
      plugin.wrong("name",
                   fmt::format("Unsupported value: {}: Kedge takes no configuration of this plugin yet", quote(name)));
    }
  }
  f.done();
  found.wrong.insert(found.wrong.end(), found.unknown.begin(), found.unknown.end());
  KEDGE_CHECK(found.verdict());
  return out;
}

}  // namespace kedge::api
