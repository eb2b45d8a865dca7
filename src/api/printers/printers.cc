#include "api/printers/prints.h"

namespace kedge::api {
namespace {

// What the real server's default table shows: name and creation time.
table_row generic(const json::value& o, wall_time) { return {{name_cell(o), o["metadata"]["creationTimestamp"]}, {}}; }

struct entry {
  std::string_view group, resource;
  printer print;
};
constexpr entry all[] = {
    {"", "componentstatuses", print::component_status},
    {"", "configmaps", print::config_map},
    {"", "secrets", print::secret},
    {"", "events", print::event},
    {"", "namespaces", print::name_space},
    {"", "nodes", print::node},
    {"", "persistentvolumeclaims", print::claim},
    {"", "persistentvolumes", print::volume},
    {"", "resourcequotas", print::quota},
    {"", "serviceaccounts", print::named},
    {"", "pods", print::pod},
    {"", "podtemplates", print::pod_template},
    {"", "replicationcontrollers", print::replicas},
    {"", "endpoints", print::endpoints},
    {"", "services", print::service},
    {"apps", "replicasets", print::replicas},
    {"apps", "controllerrevisions", print::controller_revision},
    {"apps", "daemonsets", print::daemon_set},
    {"apps", "deployments", print::deployment},
    {"apps", "statefulsets", print::stateful_set},
    {"autoscaling", "horizontalpodautoscalers", print::autoscaler},
    {"batch", "cronjobs", print::cron_job},
    {"batch", "jobs", print::job},
    {"policy", "poddisruptionbudgets", print::disruption_budget},
    {"discovery.k8s.io", "endpointslices", print::endpoint_slice},
    {"networking.k8s.io", "ingresses", print::ingress},
    {"networking.k8s.io", "ingressclasses", print::ingress_class},
    {"networking.k8s.io", "ipaddresses", print::ip_address},
    {"networking.k8s.io", "networkpolicies", print::network_policy},
    {"networking.k8s.io", "servicecidrs", print::service_cidr},
    {"apiregistration.k8s.io", "apiservices", print::api_service},
    {"apiextensions.k8s.io", "customresourcedefinitions", print::custom_definition},
    {"certificates.k8s.io", "certificatesigningrequests", print::signing_request},
    {"certificates.k8s.io", "clustertrustbundles", print::trust_bundle},
    {"certificates.k8s.io", "podcertificaterequests", print::pod_certificate_request},
    {"rbac.authorization.k8s.io", "clusterrolebindings", print::binding},
    {"rbac.authorization.k8s.io", "rolebindings", print::binding},
    {"storage.k8s.io", "csidrivers", print::csi_driver},
    {"storage.k8s.io", "csinodes", print::csi_node},
    {"storage.k8s.io", "storageclasses", print::storage_class},
    {"storage.k8s.io", "volumeattachments", print::attachment},
    {"storage.k8s.io", "volumeattributesclasses", print::attributes_class},
    {"admissionregistration.k8s.io", "mutatingwebhookconfigurations", print::webhooks},
    {"admissionregistration.k8s.io", "validatingwebhookconfigurations", print::webhooks},
    {"admissionregistration.k8s.io", "validatingadmissionpolicies", print::admission_policy},
    {"admissionregistration.k8s.io", "validatingadmissionpolicybindings", print::admission_policy_binding},
    {"admissionregistration.k8s.io", "mutatingadmissionpolicies", print::admission_policy},
    {"admissionregistration.k8s.io", "mutatingadmissionpolicybindings", print::admission_policy_binding},
    {"scheduling.k8s.io", "priorityclasses", print::priority_class},
    {"coordination.k8s.io", "leases", print::lease},
    {"node.k8s.io", "runtimeclasses", print::runtime_class},
    {"storagemigration.k8s.io", "storageversionmigrations", print::storage_version_migration},
    {"resource.k8s.io", "deviceclasses", print::named},
    {"resource.k8s.io", "devicetaintrules", print::device_taint},
    {"resource.k8s.io", "resourceclaims", print::resource_claim},
    {"resource.k8s.io", "resourceclaimtemplates", print::named},
    {"resource.k8s.io", "resourceslices", print::resource_slice},
    {"flowcontrol.apiserver.k8s.io", "flowschemas", print::flow_schema},
    {"metrics.k8s.io", "nodes", print::node_usage},
    {"metrics.k8s.io", "pods", print::pod_usage},
    {"flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", print::priority_level},
};

}  // namespace

printer printer_of(std::string_view group, std::string_view resource) noexcept {
  for (auto& e : all)
    if (e.group == group && e.resource == resource) return e.print;
  return generic;
}

}  // namespace kedge::api
