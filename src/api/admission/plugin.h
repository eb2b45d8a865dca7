// plugin.h: one admission plugin: a name, and what it changes or refuses.
//
// Plugins are functions over a request and a snapshot; they keep nothing. What needs the store (ResourceQuota charges)
// is the chain's own business (chain.h).
#pragma once

#include <string_view>

#include "api/admission/admission.h"
#include "api/admission/configuration.h"
#include "api/authorization/rbac.h"
#include "base/random.h"
#include "base/time.h"

namespace kedge::api {

struct plugin_context {
  const store::snapshot& cluster;
  authorizer& authz;
  rule_source& rules;
  random_source& random;
  wall_time now{};
  const admission_configuration& configuration;
  store::object_ref home = {};  // the request's namespace, when the chain has looked it up
};

// What a plugin is asked about: it sees no other operation.
enum operations : unsigned char { on_create = 1, on_update = 2, on_remove = 4, on_connect = 8 };
constexpr operations operator|(operations a, operations b) {
  return static_cast<operations>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool includes(operations all, operation one) {
  return (static_cast<unsigned>(all) >> static_cast<unsigned>(one)) & 1;
}
// As kube-apiserver calls it: CREATE, UPDATE, DELETE, CONNECT.
std::string_view operation_text(operation what) noexcept;

struct plugin {
  using step = api_result<void> (*)(admission_request&, plugin_context&);
  std::string_view name;
  enum operations operations = on_create | on_update;
  bool on_by_default = true;
  step mutate = nullptr;    // may change the object
  step validate = nullptr;  // may only refuse, or warn
};

// Is this a request on the resource itself (or `subresource` of it)?
inline bool concerns(const admission_request& r, std::string_view group, std::string_view resource,
                     std::string_view subresource = {}) noexcept {
  return r.who.api_group == group && r.who.resource == resource && r.who.subresource == subresource;
}

// The 403 of an admission plugin for the request's object.
status refused(const admission_request& r, std::string_view why);
// The name of the object that the request is about: of the request, or of its body.
std::string_view object_name(const admission_request& r) noexcept;
// What a refusal calls it: with generateName there is no name yet, and it goes by what the client gave, as the real
// server's does.
std::string name_told(const admission_request& r);

namespace plugins {
extern const plugin namespace_lifecycle, limit_ranger, service_account, node_restriction, taint_nodes_by_condition,
    pod_security, priority, default_toleration_seconds, default_storage_class, storage_object_in_use_protection,
    volume_claim_resize, runtime_class, certificate_approval, certificate_signing, certificate_subject_restriction,
    default_ingress_class, pod_topology_labels, node_declared_features, pod_resize, always_pull_images,
    deny_service_external_ips, rbac_escalation, device_claim_status, pod_certificate_signing;
}

}  // namespace kedge::api
