// small.cc: what the plugins share, and those of a few lines.
#include <set>

#include "api/admission/plugin.h"
#include "api/registry/lookup.h"
#include "pod/references.h"

namespace kedge::api {

std::string_view operation_text(operation what) noexcept {
  switch (what) {
    case operation::create: return "CREATE";
    case operation::update: return "UPDATE";
    case operation::remove: return "DELETE";
    case operation::connect: return "CONNECT";
  }
  return {};
}

std::string_view object_name(const admission_request& r) noexcept {
  if (!r.who.name.empty()) return r.who.name;
  if (r.object)
    if (auto name = name_of(*r.object); !name.empty()) return name;
  return r.old ? name_of(*r.old) : std::string_view{};
}

std::string name_told(const admission_request& r) {
  auto name = std::string(object_name(r));
  if (name.empty() && r.object) name = (*r.object)["metadata"]["generateName"].as_string();
  return name;
}

status refused(const admission_request& r, std::string_view why) {
  return forbidden(r.who.api_group, r.who.resource, name_told(r), why);
}

namespace {

api_result<void> pull_always(admission_request& r, plugin_context&) {
  if (!concerns(r, "", "pods") || !r.object || (r.what != operation::create && r.what != operation::update)) return {};
  each_container(r.object->member("spec"),
                 [](json::value& container, std::string_view) { container.set("imagePullPolicy", "Always"); });
  return {};
}

// Who may create Services could else catch any address's traffic within the cluster (CVE-2020-8554). Those that are
// there stay.
api_result<void> deny_external_ips(admission_request& r, plugin_context&) {
  if (!concerns(r, "", "services") || !r.object) return {};
  std::set<std::string_view> there;
  if (r.old)
    if (auto known = (*r.old)["spec"]["externalIPs"].array())
      for (auto& ip : *known) there.insert(ip.as_string());
  if (auto wanted = (*r.object)["spec"]["externalIPs"].array())
    for (auto& ip : *wanted)
      if (!there.contains(ip.as_string()))
        return fail(refused(r, "Use of external IPs is denied by admission control"));
  return {};
}

api_result<void> escalation(admission_request& r, plugin_context& c) {
  if (r.who.api_group != "rbac.authorization.k8s.io" || !r.object ||
      (r.what != operation::create && r.what != operation::update))
    return {};
  return check_escalation(r.who, r.kind, *r.object, r.old, c.authz, c.rules, c.cluster);
}

}  // namespace

const plugin plugins::always_pull_images{
    .name = "AlwaysPullImages", .operations = on_create | on_update, .on_by_default = false, .mutate = pull_always};
const plugin plugins::deny_service_external_ips{.name = "DenyServiceExternalIPs",
                                                .operations = on_create | on_update,
                                                .on_by_default = false,
                                                .validate = deny_external_ips};
const plugin plugins::rbac_escalation{
    .name = "RBACEscalation", .operations = on_create | on_update, .validate = escalation};

}  // namespace kedge::api
