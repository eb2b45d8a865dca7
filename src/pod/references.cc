#include "pod/references.h"

#include <algorithm>
#include <initializer_list>

#include "base/strings.h"
#include "meta/object.h"

namespace kedge::api {
namespace {

void add(std::vector<std::string>& to, const json::value& name) {
  if (auto text = name.string(); text && !text->empty()) to.push_back(*text);
}

void add_environment(pod_references& out, const json::value& container) {
  if (auto from = container["envFrom"].array())
    for (auto& source : *from) {
      add(out.secrets, source["secretRef"]["name"]);
      add(out.config_maps, source["configMapRef"]["name"]);
    }
  if (auto env = container["env"].array())
    for (auto& variable : *env) {
      add(out.secrets, variable["valueFrom"]["secretKeyRef"]["name"]);
      add(out.config_maps, variable["valueFrom"]["configMapKeyRef"]["name"]);
    }
}

void add_volume(pod_references& out, const json::value& volume, std::string_view pod_name) {
  add(out.secrets, volume["secret"]["secretName"]);
  add(out.config_maps, volume["configMap"]["name"]);
  add(out.volume_claims, volume["persistentVolumeClaim"]["claimName"]);
  if (volume["ephemeral"].is_object())
    out.volume_claims.push_back(std::string(pod_name) + '-' + std::string(volume["name"].as_string()));
  if (auto sources = volume["projected"]["sources"].array())
    for (auto& source : *sources) {
      add(out.secrets, source["secret"]["name"]);
      add(out.config_maps, source["configMap"]["name"]);
    }
  add(out.secrets, volume["csi"]["nodePublishSecretRef"]["name"]);
  add(out.secrets, volume["azureFile"]["secretName"]);
  for (auto kind : {"cephfs", "rbd", "flexVolume", "iscsi", "scaleIO", "storageos", "cinder"})
    add(out.secrets, volume[kind]["secretRef"]["name"]);
}

// Claims named in the spec, and those that were made from the templates that the spec names: the status tells their
// names, and nothing else that it says counts.
void add_resource_claims(pod_references& out, const json::value& pod) {
  auto made_for = [&](const json::value& claim) -> const json::value& {
    static const json::value none;
    if (claim["resourceClaimTemplateName"].as_string().empty()) return none;
    if (auto statuses = pod["status"]["resourceClaimStatuses"].array())
      for (auto& s : *statuses)
        if (s["name"].as_string() == claim["name"].as_string()) return s["resourceClaimName"];
    return none;
  };
  if (auto claims = pod["spec"]["resourceClaims"].array())
    for (auto& claim : *claims) {
      add(out.resource_claims, claim["resourceClaimName"]);
      add(out.resource_claims, made_for(claim));
    }
  add(out.resource_claims, pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"]);
}

bool one_of(std::string_view what, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

api_reference projected_reference(const json::value& volume) {
  static constexpr std::pair<std::string_view, std::string_view> kinds[] = {
      {"configMap", "configmaps (via projected volumes)"},
      {"secret", "secrets (via projected volumes)"},
      {"serviceAccountToken", "serviceaccounts (via projected volumes)"},
      {"clusterTrustBundle", "clustertrustbundles"},
      {"podCertificate", "podcertificates"}};
  if (auto sources = volume["projected"]["sources"].array())
    for (auto& source : *sources) {
      for (auto& [kind, what] : kinds)
        if (source[kind].is_object()) return {std::string(what), {}};
      if (!source["downwardAPI"].is_object())
        return {{}, "unknown source for projected volume " + quote(volume["name"].as_string())};
    }
  return {};
}

api_reference volume_reference(const json::value& volume) {
  static constexpr std::pair<std::string_view, std::string_view> kinds[] = {
      {"configMap", "configmaps (via configmap volumes)"},
      {"secret", "secrets (via secret volumes)"},
      {"csi", "csidrivers (via CSI volumes)"},
      {"glusterfs", "endpoints (via glusterFS volumes)"},
      {"persistentVolumeClaim", "persistentvolumeclaims"},
      {"ephemeral", "persistentvolumeclaims (via ephemeral volumes)"},
      {"azureFile", "secrets (via azureFile volumes)"}};
  for (auto& [kind, what] : kinds)
    if (volume[kind].is_object()) return {std::string(what), {}};
  if (volume["projected"].is_object()) return projected_reference(volume);
  bool known = false;
  if (auto members = volume.object())
    for (auto& [kind, source] : *members)
      known |= one_of(kind, {"awsElasticBlockStore",
                             "azureDisk",
                             "cephfs",
                             "cinder",
                             "downwardAPI",
                             "emptyDir",
                             "fc",
                             "flexVolume",
                             "flocker",
                             "gcePersistentDisk",
                             "gitRepo",
                             "hostPath",
                             "image",
                             "iscsi",
                             "nfs",
                             "photonPersistentDisk",
                             "portworxVolume",
                             "quobyte",
                             "rbd",
                             "scaleIO",
                             "storageos",
                             "vsphereVolume"});
  if (!known) return {{}, "unknown volume type for volume  " + quote(volume["name"].as_string())};
  return {};
}

}  // namespace

api_reference first_reference(const json::value& pod) {
  auto refers = references_of(pod);
  if (!refers.service_account.empty()) return {"serviceaccounts", {}};
  if (!refers.secrets.empty()) return {"secrets", {}};
  if (!refers.config_maps.empty()) return {"configmaps", {}};
  if (!pod["spec"]["resourceClaims"].empty()) return {"resourceclaims", {}};
  if (auto volumes = pod["spec"]["volumes"].array())
    for (auto& volume : *volumes)
      if (auto found = volume_reference(volume); !found.what.empty() || !found.problem.empty()) return found;
  return {};
}

bool is_mirror_pod(const json::value& pod) noexcept { return has_annotation(pod, "kubernetes.io/config.mirror"); }

pod_references references_of(const json::value& pod) {
  pod_references out;
  auto& spec = pod["spec"];
  out.node = spec["nodeName"].as_string();
  out.uid = uid_of(pod);
  out.service_account = spec["serviceAccountName"].as_string();
  out.mirror = is_mirror_pod(pod);
  if (auto pull = spec["imagePullSecrets"].array())
    for (auto& secret : *pull) add(out.secrets, secret["name"]);
  each_container(spec, [&](const json::value& container, std::string_view) { add_environment(out, container); });
  if (auto volumes = spec["volumes"].array())
    for (auto& volume : *volumes) add_volume(out, volume, name_of(pod));
  add_resource_claims(out, pod);
  return out;
}

}  // namespace kedge::api
