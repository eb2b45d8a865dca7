#include "control/controllers.h"

#include <algorithm>

#include "control/settings.h"

namespace kedge::control {

namespace {

// Names, accounts, components and numbers are kube-controller-manager's; K3s starts it with
// --use-service-account-credentials.
// clang-format off: a row is a line or two
constexpr controller_info table[] = {
    {.name = "node-ipam-controller", .alias = "nodeipam", .account = "node-controller", .component = "cidrAllocator", .workers = 1,
     .workers_option = "", .off_by_default = false, .make = make_node_ipam, .wanted = [](const settings& s) { return s.allocate_node_cidrs; }},
    {.name = "node-lifecycle-controller", .alias = "nodelifecycle", .account = "node-controller", .component = "node-controller", .workers = 8,
     .workers_option = "", .off_by_default = false, .make = make_node_lifecycle, .wanted = nullptr},
    {.name = "taint-eviction-controller", .alias = "", .account = "node-controller", .component = "taint-eviction-controller", .workers = 8,
     .workers_option = "", .off_by_default = false, .make = make_taint_eviction, .wanted = nullptr},
    // K3s's cloud controller manager, which has a certificate of its own.
    {.name = "cloud-node-controller", .alias = "cloud-node", .account = "k3s-cloud-controller-manager:", .component = "cloud-node-controller",
     .workers = 2, .workers_option = "", .off_by_default = false, .make = make_cloud_node,
     .wanted = [](const settings& s) { return s.cloud_controller; }},
    // Its ServiceLB.
    {.name = "service-lb-controller", .alias = "service", .account = "k3s-cloud-controller-manager:", .component = "service-lb-controller",
     .workers = 1, .workers_option = "concurrent-service-syncs", .off_by_default = false, .make = make_service_lb,
     .wanted = [](const settings& s) { return s.service_lb; }},
    // Its members of etcd. Where there is none, a Node that was one's isn't kept by its finalizer.
    {.name = "managed-etcd-controller", .alias = "", .account = "system:k3s-supervisor@system:masters", .component = "managed-etcd-controller",
     .workers = 1, .workers_option = "", .off_by_default = false, .make = make_etcd_member, .wanted = nullptr},
    // Its helm-controller.
    {.name = "helm-controller", .alias = "", .account = "system:k3s-supervisor@system:masters", .component = "helm-controller", .workers = 2,
     .workers_option = "", .off_by_default = false, .make = make_helm_controller, .wanted = [](const settings& s) { return s.helm.enabled; }},
    {.name = "pod-garbage-collector-controller", .alias = "podgc", .account = "pod-garbage-collector", .component = "pod-garbage-collector-controller",
     .workers = 8, .workers_option = "", .off_by_default = false, .make = make_pod_garbage, .wanted = nullptr},
    {.name = "garbage-collector-controller", .alias = "garbagecollector", .account = "generic-garbage-collector",
     .component = "garbage-collector-controller", .workers = 20, .workers_option = "concurrent-gc-syncs", .off_by_default = false,
     .make = make_garbage_collector, .wanted = [](const settings& s) { return s.enable_garbage_collector; }},
    {.name = "namespace-controller", .alias = "namespace", .account = "namespace-controller", .component = "namespace-controller", .workers = 10,
     .workers_option = "concurrent-namespace-syncs", .off_by_default = false, .make = make_namespace_lifecycle, .wanted = nullptr},
    {.name = "resourcequota-controller", .alias = "resourcequota", .account = "resourcequota-controller", .component = "resourcequota-controller",
     .workers = 5, .workers_option = "concurrent-resource-quota-syncs", .off_by_default = false, .make = make_resource_quota, .wanted = nullptr},
    {.name = "disruption-controller", .alias = "disruption", .account = "disruption-controller", .component = "controllermanager", .workers = 1,
     .workers_option = "concurrent-disruption-syncs", .off_by_default = false, .make = make_disruption, .wanted = nullptr},
    {.name = "serviceaccount-controller", .alias = "serviceaccount", .account = "service-account-controller", .component = "serviceaccount-controller",
     .workers = 1, .workers_option = "", .off_by_default = false, .make = make_service_accounts, .wanted = nullptr},
    {.name = "root-ca-certificate-publisher-controller", .alias = "root-ca-cert-publisher", .account = "root-ca-cert-publisher",
     .component = "root-ca-certificate-publisher-controller", .workers = 1, .workers_option = "", .off_by_default = false,
     .make = make_root_ca_publisher, .wanted = [](const settings& s) { return !s.root_ca_pem.empty(); }},
    {.name = "token-cleaner-controller", .alias = "tokencleaner", .account = "token-cleaner", .component = "token-cleaner-controller", .workers = 1,
     .workers_option = "", .off_by_default = true, .make = make_token_cleaner, .wanted = nullptr},
    {.name = "clusterrole-aggregation-controller", .alias = "clusterrole-aggregation", .account = "clusterrole-aggregation-controller",
     .component = "clusterrole-aggregation-controller", .workers = 5, .workers_option = "", .off_by_default = false, .make = make_role_aggregation,
     .wanted = nullptr},
    {.name = "persistentvolumeclaim-protection-controller", .alias = "pvc-protection", .account = "pvc-protection-controller",
     .component = "persistentvolumeclaim-protection-controller", .workers = 1, .workers_option = "", .off_by_default = false,
     .make = make_claim_protection, .wanted = nullptr},
    {.name = "persistentvolume-protection-controller", .alias = "pv-protection", .account = "pv-protection-controller",
     .component = "persistentvolume-protection-controller", .workers = 1, .workers_option = "", .off_by_default = false,
     .make = make_volume_protection, .wanted = nullptr},
    {.name = "volumeattributesclass-protection-controller", .alias = "", .account = "volumeattributesclass-protection-controller",
     .component = "volumeattributesclass-protection-controller", .workers = 1, .workers_option = "", .off_by_default = false,
     .make = make_attributes_class_protection, .wanted = nullptr},
    {.name = "deployment-controller", .alias = "deployment", .account = "deployment-controller", .component = "deployment-controller", .workers = 5,
     .workers_option = "concurrent-deployment-syncs", .off_by_default = false, .make = make_deployment, .wanted = nullptr},
    {.name = "replicaset-controller", .alias = "replicaset", .account = "replicaset-controller", .component = "replicaset-controller", .workers = 5,
     .workers_option = "concurrent-replicaset-syncs", .off_by_default = false, .make = make_replica_set, .wanted = nullptr},
    {.name = "replicationcontroller-controller", .alias = "replicationcontroller", .account = "replication-controller",
     .component = "replication-controller", .workers = 5, .workers_option = "concurrent-rc-syncs", .off_by_default = false,
     .make = make_replication_controller, .wanted = nullptr},
    {.name = "statefulset-controller", .alias = "statefulset", .account = "statefulset-controller", .component = "statefulset-controller", .workers = 5,
     .workers_option = "concurrent-statefulset-syncs", .off_by_default = false, .make = make_stateful_set, .wanted = nullptr},
    {.name = "daemonset-controller", .alias = "daemonset", .account = "daemon-set-controller", .component = "daemonset-controller", .workers = 2,
     .workers_option = "concurrent-daemonset-syncs", .off_by_default = false, .make = make_daemon_set, .wanted = nullptr},
    {.name = "job-controller", .alias = "job", .account = "job-controller", .component = "job-controller", .workers = 5,
     .workers_option = "concurrent-job-syncs", .off_by_default = false, .make = make_job, .wanted = nullptr},
    {.name = "cronjob-controller", .alias = "cronjob", .account = "cronjob-controller", .component = "cronjob-controller", .workers = 5,
     .workers_option = "concurrent-cron-job-syncs", .off_by_default = false, .make = make_cron_job, .wanted = nullptr},
    {.name = "ttl-after-finished-controller", .alias = "ttl-after-finished", .account = "ttl-after-finished-controller",
     .component = "ttl-after-finished-controller", .workers = 5, .workers_option = "concurrent-ttl-after-finished-syncs", .off_by_default = false,
     .make = make_finished_jobs, .wanted = nullptr},
    {.name = "endpointslice-controller", .alias = "endpointslice", .account = "endpointslice-controller", .component = "endpoint-slice-controller",
     .workers = 5, .workers_option = "concurrent-service-endpoint-syncs", .off_by_default = false, .make = make_endpoint_slice, .wanted = nullptr},
    {.name = "horizontal-pod-autoscaler-controller", .alias = "horizontalpodautoscaling", .account = "horizontal-pod-autoscaler",
     .component = "horizontal-pod-autoscaler", .workers = 5, .workers_option = "concurrent-horizontal-pod-autoscaler-syncs", .off_by_default = false,
     .make = make_autoscaler, .wanted = nullptr},
    {.name = "persistentvolume-binder-controller", .alias = "persistentvolume-binder", .account = "persistent-volume-binder",
     .component = "persistentvolume-controller", .workers = 1, .workers_option = "", .off_by_default = false, .make = make_binder, .wanted = nullptr},
    {.name = "ephemeral-volume-controller", .alias = "ephemeral-volume", .account = "ephemeral-volume-controller", .component = "ephemeral_volume",
     .workers = 5, .workers_option = "concurrent-ephemeralvolume-syncs", .off_by_default = false, .make = make_ephemeral_volumes, .wanted = nullptr},
    {.name = "resourceclaim-controller", .alias = "resource-claim-controller", .account = "resource-claim-controller", .component = "resource_claim",
     .workers = 50, .workers_option = "concurrent-resourceclaim-syncs", .off_by_default = false, .make = make_resource_claims, .wanted = nullptr},
    {.name = "device-taint-eviction-controller", .alias = "", .account = "device-taint-eviction-controller",
     .component = "device-taint-eviction-controller", .workers = 8, .workers_option = "concurrent-device-taint-eviction-syncs",
     .off_by_default = false, .make = make_device_taint_eviction, .wanted = nullptr},
    {.name = "persistentvolume-attach-detach-controller", .alias = "attachdetach", .account = "attachdetach-controller",
     .component = "attachdetach-controller", .workers = 1, .workers_option = "", .off_by_default = false, .make = make_attacher, .wanted = nullptr},
    {.name = "persistentvolume-expander-controller", .alias = "persistentvolume-expander", .account = "expand-controller",
     .component = "volume_expand", .workers = 10, .workers_option = "", .off_by_default = false, .make = make_expander, .wanted = nullptr},
    // K3s's local-path-provisioner.
    {.name = "local-path-provisioner", .alias = "", .account = "local-path-provisioner-service-account", .component = "rancher.io/local-path",
     .workers = 4, .workers_option = "", .off_by_default = false, .make = make_local_path,
     .wanted = [](const settings& s) { return s.local_storage.enabled; }},
    {.name = "service-cidr-controller", .alias = "", .account = "service-cidrs-controller", .component = "service-cidr-controller", .workers = 5,
     .workers_option = "", .off_by_default = false, .make = make_service_cidrs, .wanted = nullptr},
    {.name = "ttl-controller", .alias = "ttl", .account = "ttl-controller", .component = "ttl-controller", .workers = 5, .workers_option = "",
     .off_by_default = false, .make = make_ttl, .wanted = nullptr},
    {.name = "certificatesigningrequest-cleaner-controller", .alias = "csrcleaner", .account = "certificate-controller",
     .component = "certificatesigningrequest-cleaner-controller", .workers = 1, .workers_option = "", .off_by_default = false,
     .make = make_certificate_cleaner, .wanted = nullptr},
    {.name = "podcertificaterequest-cleaner-controller", .alias = "", .account = "podcertificaterequestcleaner",
     .component = "podcertificaterequest-cleaner-controller", .workers = 1, .workers_option = "", .off_by_default = false,
     .make = make_pod_certificate_cleaner, .wanted = nullptr},
    {.name = "certificatesigningrequest-approving-controller", .alias = "csrapproving", .account = "certificate-controller",
     .component = "certificatesigningrequest-approving-controller", .workers = 5, .workers_option = "", .off_by_default = false,
     .make = make_certificate_approver, .wanted = nullptr},
    {.name = "certificatesigningrequest-signing-controller", .alias = "csrsigning", .account = "certificate-controller",
     .component = "certificatesigningrequest-signing-controller", .workers = 5, .workers_option = "", .off_by_default = false,
     .make = make_certificate_signer,
     .wanted = [](const settings& s) { return s.client_authority != nullptr && s.server_authority != nullptr; }},
    {.name = "serviceaccount-token-controller", .alias = "serviceaccount-token", .account = "system:kube-controller-manager:",
     .component = "serviceaccount-token-controller", .workers = 5, .workers_option = "concurrent-serviceaccount-token-syncs",
     .off_by_default = false, .make = make_account_tokens, .wanted = [](const settings& s) { return s.service_account_key != nullptr; }},
    {.name = "endpoints-controller", .alias = "endpoint", .account = "endpoint-controller", .component = "endpoint-controller", .workers = 5,
     .workers_option = "concurrent-endpoint-syncs", .off_by_default = false, .make = make_endpoints, .wanted = nullptr},
    {.name = "endpointslice-mirroring-controller", .alias = "endpointslicemirroring", .account = "endpointslicemirroring-controller",
     .component = "endpoint-slice-mirroring-controller", .workers = 5, .workers_option = "mirroring-concurrent-service-endpoint-syncs",
     .off_by_default = false, .make = make_endpoint_mirroring, .wanted = nullptr},
    {.name = "validatingadmissionpolicy-status-controller", .alias = "", .account = "validatingadmissionpolicy-status-controller",
     .component = "validatingadmissionpolicy-status-controller", .workers = 5,
     .workers_option = "concurrent-validating-admission-policy-status-syncs", .off_by_default = false, .make = make_policy_checker,
     .wanted = nullptr},
    {.name = "storage-version-migrator-controller", .alias = "svm", .account = "storage-version-migrator-controller",
     .component = "storage-version-migrator-controller", .workers = 5, .workers_option = "", .off_by_default = false,
     .make = make_storage_migration, .wanted = nullptr},
};
// clang-format on

// kube-controller-manager's others, by both of their names, and the cloud controllers that K3s takes off the list.
constexpr std::string_view foreign[] = {"bootstrap-signer-controller",
                                        "bootstrapsigner",
                                        "podgroup-protection-controller",
                                        "kube-apiserver-serving-clustertrustbundle-publisher-controller",
                                        "storageversion-garbage-collector-controller",
                                        "storage-version-gc",
                                        "resourcepoolstatusrequest-controller",
                                        "legacy-serviceaccount-token-cleaner-controller",
                                        "legacy-service-account-token-cleaner",
                                        "selinux-warning-controller",
                                        "route",
                                        "node-route-controller",
                                        "cloud-node-lifecycle",
                                        "cloud-node-lifecycle-controller"};

}  // namespace

std::span<const controller_info> controllers() { return table; }

const controller_info* find_controller(std::string_view name) noexcept {
  for (auto& c : table)
    if (c.name == name || (!c.alias.empty() && c.alias == name)) return &c;
  return nullptr;
}

bool is_foreign_controller(std::string_view name) noexcept {
  return std::ranges::find(foreign, name) != std::end(foreign);
}

bool is_enabled(const controller_info& c, const settings& s) {
  if (c.wanted && !c.wanted(s)) return false;
  bool all = false;
  for (std::string_view given : s.controllers) {
    bool without = given.starts_with('-');
    if (without) given.remove_prefix(1);
    if (given == c.name || (!c.alias.empty() && given == c.alias)) return !without;
    all = all || given == "*";
  }
  return all && !c.off_by_default;
}

api::user_info user_of(const controller_info& c) {
  if (auto at = c.account.find('@'); at != c.account.npos)
    return {.name = std::string(c.account.substr(0, at)),
            .groups = {std::string(c.account.substr(at + 1)), "system:authenticated"}};
  if (c.account.ends_with(':'))
    return {.name = std::string(c.account.substr(0, c.account.size() - 1)), .groups = {"system:authenticated"}};
  return {.name = "system:serviceaccount:kube-system:" + std::string(c.account),
          .groups = {"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}};
}

}  // namespace kedge::control
