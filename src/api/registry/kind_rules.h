// kind_rules.h: what is truly a kind's own. Everything else about it is the schema table's.
//
//   body ─▶ decode, default (schema) ─▶ convert to the stored version ─▶ prepare ─▶ admission ─▶ validate ─▶ store
//
// A kind's file in kinds/ defines one constant kind_rules; kinds without one get the generic rules: names are DNS
// subdomains, status is dropped on create and kept on update when the table has a status subresource.
#pragma once

#include <string>
#include <string_view>

#include "api/registry/service_ranges.h"
#include "api/request/user.h"
#include "base/random.h"
#include "base/time.h"
#include "json/value.h"
#include "meta/validate.h"
#include "store/store.h"

namespace kedge::api {

// What a kind's rules may look at. Lives for one request.
struct kind_context {
  const store::snapshot& cluster;
  const user_info& user;
  std::string_view subresource;  // "" for the object itself
  wall_time now;
  random_source& random;
  bool dry_run = false;
  std::vector<std::string>& warnings;  // of an object that may yet be refused
  const service_ranges& services;
};

struct kind_rules {
  std::string_view group, resource;
  name_check name = check_dns1123_subdomain;
  bool name_stands = false;          // an update doesn't judge the name again: it may be of an older rule
  bool generation = false;           // metadata.generation counts changes of the spec
  bool annotations_count = false;    // … and of annotations
  bool labels_count = false;         // … and of labels
  bool create_by_update = false;     // PUT of a missing object creates it
  bool unconditional_update = true;  // PUT without resourceVersion is allowed
  bool answers_deleted_object = false;
  bool metadata_stands = false;    // an update of the status leaves labels and the like as they are
  bool orphan_by_default = false;  // dependents, when a delete says nothing
  bool keeps_status_on_create = false;
  std::uint32_t lease_seconds = 0;

  // All may be null. What kube-apiserver's way to its internal form and back makes of an object, for which its writer
  // then answers as if it had written that. `o` is as it came, or as it is stored.
  void (*convert)(json::value& o) = nullptr;
  // `o` is in the stored version, decoded and defaulted; metadata is complete (without uid on create).
  void (*prepare_create)(json::value& o, const kind_context& c) = nullptr;
  // After the generic part: status or spec and system metadata have been kept from `old`.
  void (*prepare_update)(json::value& o, const json::value& old, const kind_context& c) = nullptr;
  // What the server's settings can't give, which is told alone, before all else. `old`: null on create.
  void (*check_settings)(causes& out, const json::value& o, const json::value* old,
                         const service_ranges& services) = nullptr;
  void (*validate)(causes& out, const json::value& o) = nullptr;  // of a create
  // Of a create, before the rest: what hangs on other objects.
  void (*validate_in_cluster)(causes& out, const json::value& o, const kind_context& c) = nullptr;
  // Of the object itself after an update; null: as a create. What an older object has that is wrong by now may stay.
  void (*validate_update)(causes& out, const json::value& o, const json::value& old) = nullptr;
  // Of an update through `subresource`: its status, its approval …
  void (*validate_part)(causes& out, const json::value& o, const json::value& old,
                        std::string_view subresource) = nullptr;
  // A delete that must not be: the text of a 403, empty when it may.
  std::string (*refuse_delete)(const json::value& old) = nullptr;
  // Marks what a delete leaves standing: finalizers of the kind's own. Before the generic part.
  void (*prepare_delete)(json::value& o, wall_time now) = nullptr;
  // Texts for Warning headers, of an object found valid. `old`: null on create.
  void (*warn)(std::vector<std::string>& out, const json::value& o, const json::value* old) = nullptr;
  void (*warn_status)(std::vector<std::string>& out, const json::value& o) = nullptr;
};

// The generic rules for what has none of its own.
const kind_rules& rules_of(std::string_view group, std::string_view resource) noexcept;

// kind_rules that the files of kinds/ define.
namespace kinds {
extern const kind_rules namespaces, config_maps, secrets, nodes, leases, events, new_events, service_accounts, services,
    endpoints, endpoint_slices, pods, pod_templates, replication_controllers, deployments, replica_sets, stateful_sets,
    daemon_sets, controller_revisions, jobs, cron_jobs, roles, role_bindings, cluster_roles, cluster_role_bindings,
    priority_classes, pod_disruption_budgets, resource_quotas, limit_ranges, certificate_signing_requests,
    cluster_trust_bundles, pod_certificate_requests, network_policies, ingresses, ingress_classes, ip_addresses,
    service_cidrs, storage_classes, persistent_volumes, persistent_volume_claims, csi_drivers, csi_nodes,
    csi_storage_capacities, volume_attachments, volume_attributes_classes, runtime_classes, horizontal_pod_autoscalers,
    flow_schemas, priority_level_configurations, custom_resource_definitions, mutating_webhooks, validating_webhooks,
    validating_policies, validating_policy_bindings, mutating_policies, mutating_policy_bindings, device_classes,
    device_taint_rules, resource_claims, resource_claim_templates, resource_slices, api_services,
    storage_version_migrations;
}

}  // namespace kedge::api
