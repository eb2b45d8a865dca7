// controllers.h: the table of controllers. A row says all that is not a controller's own work: what it is called, as
// whom it acts, how many keys it works on at once. Flags, accounts, Events and the log follow from it.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "control/shell.h"

namespace kedge::control {

struct controller_info {
  std::string_view name;       // kube-controller-manager's, for controllers=…
  std::string_view alias;      // an older name for the same; may be empty
  std::string_view account;    // the service account in kube-system that it acts as; with a ':' at its end, a user of
                               // that name; "user@group"
  std::string_view component;  // of its Events
  unsigned workers;
  std::string_view workers_option;  // kube-controller-manager's for that number; empty: it has none
  bool off_by_default;
  std::unique_ptr<controller> (*make)(const settings&);
  bool (*wanted)(const settings&);  // null: always
};

std::span<const controller_info> controllers();
// By name or alias; null: there is no such controller here.
const controller_info* find_controller(std::string_view name) noexcept;
// Names that kube-controller-manager has and Kedge doesn't do (yet).
bool is_foreign_controller(std::string_view name) noexcept;
// As kube-controller-manager's --controllers decides: named, "-" named, or "*".
bool is_enabled(const controller_info& c, const settings& s);
// "system:serviceaccount:kube-system:deployment-controller", with its groups.
api::user_info user_of(const controller_info& c);

// What the rows name, each in the file of its subject.
std::unique_ptr<controller> make_node_ipam(const settings&);
std::unique_ptr<controller> make_node_lifecycle(const settings&);
std::unique_ptr<controller> make_taint_eviction(const settings&);
std::unique_ptr<controller> make_cloud_node(const settings&);
std::unique_ptr<controller> make_service_lb(const settings&);
std::unique_ptr<controller> make_etcd_member(const settings&);
std::unique_ptr<controller> make_helm_controller(const settings&);
std::unique_ptr<controller> make_pod_garbage(const settings&);
std::unique_ptr<controller> make_garbage_collector(const settings&);
std::unique_ptr<controller> make_namespace_lifecycle(const settings&);
std::unique_ptr<controller> make_storage_migration(const settings&);
std::unique_ptr<controller> make_resource_quota(const settings&);
std::unique_ptr<controller> make_disruption(const settings&);
std::unique_ptr<controller> make_service_accounts(const settings&);
std::unique_ptr<controller> make_root_ca_publisher(const settings&);
std::unique_ptr<controller> make_account_tokens(const settings&);
std::unique_ptr<controller> make_token_cleaner(const settings&);
std::unique_ptr<controller> make_policy_checker(const settings&);
std::unique_ptr<controller> make_role_aggregation(const settings&);
std::unique_ptr<controller> make_claim_protection(const settings&);
std::unique_ptr<controller> make_volume_protection(const settings&);
std::unique_ptr<controller> make_attributes_class_protection(const settings&);
std::unique_ptr<controller> make_replica_set(const settings&);
std::unique_ptr<controller> make_replication_controller(const settings&);
std::unique_ptr<controller> make_deployment(const settings&);
std::unique_ptr<controller> make_stateful_set(const settings&);
std::unique_ptr<controller> make_daemon_set(const settings&);
std::unique_ptr<controller> make_job(const settings&);
std::unique_ptr<controller> make_cron_job(const settings&);
std::unique_ptr<controller> make_finished_jobs(const settings&);
std::unique_ptr<controller> make_autoscaler(const settings&);
std::unique_ptr<controller> make_binder(const settings&);
std::unique_ptr<controller> make_ephemeral_volumes(const settings&);
std::unique_ptr<controller> make_resource_claims(const settings&);
std::unique_ptr<controller> make_device_taint_eviction(const settings&);
std::unique_ptr<controller> make_attacher(const settings&);
std::unique_ptr<controller> make_local_path(const settings&);
std::unique_ptr<controller> make_expander(const settings&);
std::unique_ptr<controller> make_service_cidrs(const settings&);
std::unique_ptr<controller> make_ttl(const settings&);
std::unique_ptr<controller> make_certificate_approver(const settings&);
std::unique_ptr<controller> make_certificate_signer(const settings&);
std::unique_ptr<controller> make_certificate_cleaner(const settings&);
std::unique_ptr<controller> make_pod_certificate_cleaner(const settings&);
std::unique_ptr<controller> make_endpoint_slice(const settings&);
std::unique_ptr<controller> make_endpoints(const settings&);
std::unique_ptr<controller> make_endpoint_mirroring(const settings&);

}  // namespace kedge::control
