#include "control/addons/packaged.h"

#include <utility>

#include "json/write.h"

namespace kedge::control::addons {

namespace {

using json::array;
using json::object;
using json::value;

constexpr auto rbac = "rbac.authorization.k8s.io";
constexpr auto rbac_v1 = "rbac.authorization.k8s.io/v1";

value local_path_class() {
  return object{{"apiVersion", "storage.k8s.io/v1"},
                {"kind", "StorageClass"},
                {"metadata", object{{"name", "local-path"},
                                    {"annotations", object{{"defaultVolumeType", "local"},
                                                           {"storageclass.kubernetes.io/is-default-class", "true"}}}}},
                {"provisioner", "rancher.io/local-path"},
                {"volumeBindingMode", "WaitForFirstConsumer"},
                {"reclaimPolicy", "Delete"},
                {"allowVolumeExpansion", true}};
}

value local_path_config(const std::string& path) {
  value config =
      object{{"nodePathMap", array{object{{"node", "DEFAULT_PATH_FOR_NON_LISTED_NODES"}, {"paths", array{path}}}}}};
  return object{{"apiVersion", "v1"},
                {"kind", "ConfigMap"},
                {"metadata", object{{"name", "local-path-config"}, {"namespace", "kube-system"}}},
                {"data", object{{"config.json", json::write_indented(config, 2)}}}};
}

// Under which names pods ask for a runtime: the two that every node has, of which one is its default, and those that
// K3s names, whatever the nodes have.
constexpr const char* runtimes[] = {"kedge", "runc",     "nvidia", "nvidia-experimental",
                                    "crun",  "lunatic",  "slight", "spin",
                                    "wws",   "wasmedge", "wasmer", "wasmtime"};

std::vector<value> runtime_classes() {
  std::vector<value> out;
  for (auto* name : runtimes)
    out.push_back(object{{"apiVersion", "node.k8s.io/v1"},
                         {"kind", "RuntimeClass"},
                         {"metadata", object{{"name", name}}},
                         {"handler", name}});
  return out;
}

value kubelet_admin() {
  return object{{"apiVersion", rbac_v1},
                {"kind", "ClusterRoleBinding"},
                {"metadata", object{{"name", "kube-apiserver-kubelet-admin"}}},
                {"roleRef", object{{"apiGroup", rbac}, {"kind", "ClusterRole"}, {"name", "system:kubelet-api-admin"}}},
                {"subjects", array{object{{"apiGroup", rbac}, {"kind", "User"}, {"name", "kube-apiserver"}}}}};
}

value metrics_reader() {
  object labels;
  for (auto* role : {"admin", "edit", "view"})
    labels.set(std::string("rbac.authorization.k8s.io/aggregate-to-") + role, "true");
  return object{{"apiVersion", rbac_v1},
                {"kind", "ClusterRole"},
                {"metadata", object{{"name", "system:aggregated-metrics-reader"}, {"labels", std::move(labels)}}},
                {"rules", array{object{{"apiGroups", array{"metrics.k8s.io"}},
                                       {"resources", array{"pods", "nodes"}},
                                       {"verbs", array{"get", "list", "watch"}}}}}};
}

}  // namespace

std::map<std::string, std::vector<value>, std::less<>> packaged_components(const packaged_settings& s) {
  std::map<std::string, std::vector<value>, std::less<>> out;
  auto& dns = out["coredns.yaml"];
  if (s.dns_service.is_object()) dns.push_back(s.dns_service);
  out["ccm.yaml"];
  out["local-storage.yaml"] = {local_path_class(), local_path_config(s.local_storage_path)};
  out["runtimes.yaml"] = runtime_classes();
  auto& roles = out["rolebindings.yaml"] = {kubelet_admin()};
  roles.insert(roles.end(), s.node_roles.begin(), s.node_roles.end());
  for (auto* name : {"auth-delegator", "auth-reader", "metrics-apiservice", "metrics-server-deployment",
                     "metrics-server-service", "resource-reader"})
    out[std::string("metrics-server/") + name + ".yaml"];
  auto& reader = out["metrics-server/aggregated-metrics-reader.yaml"];
  if (s.usage) reader.push_back(metrics_reader());
  if (!s.traefik.empty()) out["traefik.yaml"] = s.traefik;
  return out;
}

}  // namespace kedge::control::addons
