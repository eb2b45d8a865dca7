// pod_security.cc: the levels that a namespace's labels ask for: enforced on pods, warned of on pods and workloads.
#include <algorithm>
#include <optional>

#include "api/admission/plugin.h"
#include "api/registry/lookup.h"
#include "base/strings.h"
#include "pod/security_checks.h"

namespace kedge::api {
namespace {

constexpr std::string_view label_prefix = "pod-security.kubernetes.io/";

std::optional<security_level> level_of(std::string_view text) {
  if (text == "privileged") return security_level::privileged;
  if (text == "baseline") return security_level::baseline;
  if (text == "restricted") return security_level::restricted;
  return std::nullopt;
}

struct policy {
  security_level level = security_level::privileged;
  unsigned minor = latest_minor;  // of the version of the standards
  std::string text;               // "restricted:latest"
};

policy policy_of(std::string_view level, std::string_view version) {
  auto known = level_of(level);
  auto minor = version.starts_with("v1.") ? parse_uint(version.substr(3)) : std::nullopt;
  return {known.value_or(security_level::restricted),
          minor && *minor < latest_minor ? static_cast<unsigned>(*minor) : latest_minor,
          std::string(known ? level : "restricted") + ':' + std::string(version)};
}

// What the namespace's labels say of one mode, and the configuration where they say nothing. A label that can't be read
// (written before this plugin was on) is the strictest, as there.
policy policy_of(const json::value& labels, std::string_view mode, const pod_security_settings::standard& otherwise) {
  const auto name = std::string(label_prefix) + std::string(mode);
  return policy_of(labels[name].as_string(otherwise.level), labels[name + "-version"].as_string(otherwise.version));
}

// Warned of is what is enforced by a label, unless a label says otherwise or the configuration is stricter.
policy warned_of(const json::value& labels, const policy& enforced, const pod_security_settings& s) {
  auto label = [&](std::string_view name) { return labels.find(std::string(label_prefix) + std::string(name)); };
  auto warned = policy_of(labels, "warn", s.warn);
  auto enforce = label("enforce");
  if (label("warn") || !enforce || !level_of(enforce->as_string()) || enforced.level <= warned.level) return warned;
  if (!label("warn-version")) return enforced;
  auto stricter = enforced;
  stricter.minor = warned.minor;
  stricter.text = enforced.text.substr(0, enforced.text.find(':')) + warned.text.substr(warned.text.find(':'));
  return stricter;
}

bool named(const std::vector<std::string>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

api_result<void> check_namespace(const admission_request& r) {
  auto labels = (*r.object)["metadata"]["labels"].object();
  if (!labels) return {};
  std::vector<cause> causes;
  for (auto& [name, value] : *labels) {
    if (!std::string_view(name).starts_with(label_prefix)) continue;
    auto mode = std::string_view(name).substr(label_prefix.size());
    auto field = "metadata.labels[" + name + ']';
    if (mode.ends_with("-version")) {
      if (!is_security_version(value.as_string()))
        causes.push_back(invalid_value(field, value, "must be \"latest\" or \"v1.x\""));
    } else if (!level_of(value.as_string())) {
      causes.push_back(invalid_value(field, value, "must be one of privileged, baseline, restricted"));
    }
  }
  if (causes.empty()) return {};
  return fail(invalid("", "Namespace", object_name(r), std::move(causes)));
}

// The pod template of a workload; null for anything else.
const json::value* template_of(const admission_request& r) {
  auto& a = r.who;
  if (!a.subresource.empty()) return nullptr;
  auto& spec = (*r.object)["spec"];
  if (a.api_group == "batch" && a.resource == "cronjobs") return &spec["jobTemplate"]["spec"]["template"];
  bool workload = (a.api_group == "apps" && a.resource != "controllerrevisions") ||
                  (a.api_group == "batch" && a.resource == "jobs") ||
                  (a.api_group.empty() && a.resource == "replicationcontrollers");
  if (workload) return &spec["template"];
  if (a.api_group.empty() && a.resource == "podtemplates") return &(*r.object)["template"];
  return nullptr;
}

// Whether an update has the pod run anything else: what else of a pod may change was judged when it was made.
bool runs_other(const json::value& pod, const json::value& old) {
  for (auto list : {"initContainers", "containers"}) {
    auto &now = pod["spec"][list], &before = old["spec"][list];
    if (now.size() != before.size()) return true;
    for (std::size_t i = 0; i < now.size(); ++i)
      if (now[i]["image"] != before[i]["image"]) return true;
  }
  return false;
}

bool writes_pod(const admission_request& r) {
  auto& a = r.who;
  if (!a.api_group.empty() || a.resource != "pods") return false;
  if (a.subresource == "ephemeralcontainers") return r.what == operation::update;
  if (!a.subresource.empty()) return false;
  if (r.what == operation::create) return true;
  return r.what == operation::update && r.old && runs_other(*r.object, *r.old);
}

api_result<void> check(admission_request& r, plugin_context& c) {
  if (!r.object || (r.what != operation::create && r.what != operation::update)) return {};
  if (concerns(r, "", "namespaces")) return check_namespace(r);
  bool is_pod = writes_pod(r);
  auto pod = is_pod ? r.object : template_of(r);
  if (!pod || r.who.ns.empty()) return {};
  auto& settings = c.configuration.pod_security;
  if (named(settings.namespaces, r.who.ns) || named(settings.users, r.who.user->name)) return {};
  if (auto runs_in = (*pod)["spec"]["runtimeClassName"].as_string();
      !runs_in.empty() && named(settings.runtime_classes, runs_in))
    return {};
  auto ns = read_object(c.cluster, object_key("namespaces", {}, r.who.ns));
  if (!ns) return {};
  auto& labels = (*ns)["metadata"]["labels"];
  const auto enforced = policy_of(labels, "enforce", settings.enforce);
  if (is_pod) {
    auto breaches = security_breaches(*pod, enforced.level, enforced.minor);
    if (!breaches.empty())
      return fail(refused(r, "violates PodSecurity " + quote(enforced.text) + ": " + join(breaches, ", ")));
  }
  const auto warned = warned_of(labels, enforced, settings);
  auto breaches = security_breaches(*pod, warned.level, warned.minor);
  if (!breaches.empty())
    r.warnings.push_back("would violate PodSecurity " + quote(warned.text) + ": " + join(breaches, ", "));
  return {};
}

}  // namespace

const plugin plugins::pod_security{.name = "PodSecurity", .operations = on_create | on_update, .validate = check};

}  // namespace kedge::api
