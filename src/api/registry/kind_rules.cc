#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

const kind_rules generic{};

const kind_rules* const all[] = {
    &kinds::namespaces,
    &kinds::config_maps,
    &kinds::secrets,
    &kinds::nodes,
    &kinds::leases,
    &kinds::events,
    &kinds::new_events,
    &kinds::service_accounts,
    &kinds::services,
    &kinds::endpoints,
    &kinds::endpoint_slices,
    &kinds::pods,
    &kinds::pod_templates,
    &kinds::replication_controllers,
    &kinds::deployments,
    &kinds::replica_sets,
    &kinds::stateful_sets,
    &kinds::daemon_sets,
    &kinds::controller_revisions,
    &kinds::jobs,
    &kinds::cron_jobs,
    &kinds::roles,
    &kinds::role_bindings,
    &kinds::cluster_roles,
    &kinds::cluster_role_bindings,
    &kinds::priority_classes,
    &kinds::pod_disruption_budgets,
    &kinds::resource_quotas,
    &kinds::limit_ranges,
    &kinds::certificate_signing_requests,
    &kinds::cluster_trust_bundles,
    &kinds::pod_certificate_requests,
    &kinds::network_policies,
    &kinds::ingresses,
    &kinds::ingress_classes,
    &kinds::ip_addresses,
    &kinds::service_cidrs,
    &kinds::storage_classes,
    &kinds::persistent_volumes,
    &kinds::persistent_volume_claims,
    &kinds::csi_drivers,
    &kinds::csi_nodes,
    &kinds::csi_storage_capacities,
    &kinds::volume_attachments,
    &kinds::volume_attributes_classes,
    &kinds::runtime_classes,
    &kinds::horizontal_pod_autoscalers,
    &kinds::flow_schemas,
    &kinds::priority_level_configurations,
    &kinds::custom_resource_definitions,
    &kinds::mutating_webhooks,
    &kinds::validating_webhooks,
    &kinds::validating_policies,
    &kinds::validating_policy_bindings,
    &kinds::mutating_policies,
    &kinds::mutating_policy_bindings,
    &kinds::device_classes,
    &kinds::device_taint_rules,
    &kinds::resource_claims,
    &kinds::resource_claim_templates,
    &kinds::resource_slices,
    &kinds::api_services,
    &kinds::storage_version_migrations,
};

}  // namespace

const kind_rules& rules_of(std::string_view group, std::string_view resource) noexcept {
  for (auto r : all)
    if (r->group == group && r->resource == resource) return *r;
  return generic;
}

}  // namespace kedge::api
