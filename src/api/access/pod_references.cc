#include "api/access/pod_references.h"

#include "api/access/cluster.h"

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
  if (volume["ephemeral"].is_object()) out.volume_claims.push_back(std::string(pod_name) + '-' + std::string(volume["name"].as_string()));
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

void add_resource_claims(pod_references& out, const json::value& pod) {
  if (auto claims = pod["spec"]["resourceClaims"].array())
    for (auto& claim : *claims) add(out.resource_claims, claim["resourceClaimName"]);
  if (auto statuses = pod["status"]["resourceClaimStatuses"].array())
    for (auto& claim : *statuses) add(out.resource_claims, claim["resourceClaimName"]);
  add(out.resource_claims, pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"]);
}

}  // namespace

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
