#include "api/kinds/core/volumes.h"

#include <fmt/format.h>

#include <unordered_set>

#include "api/kinds/certificates/signer_name.h"
#include "api/kinds/core/claim_spec.h"
#include "base/strings.h"
#include "meta/internal_form.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

constexpr std::string_view mode_text = "must be a number between 0 and 0777 (octal), both inclusive";

void check_mode(causes& out, const json::value& source, const place& at, std::string_view member) {
  auto& mode = source[member];
  if (mode.is_integer() && (mode.as_integer() < 0 || mode.as_integer() > 0777))
    out.push_back(invalid_value(place(at, member), mode, mode_text));
}

void check_user(causes& out, const json::value& source, const place& at, std::string_view member) {
  if (auto& user = source[member]; !user.is_null()) check_id(out, user, place(at, member));
}

void check_item(causes& out, const json::value& item, const place& at) {
  need(out, item, at, "key");
  need(out, item, at, "path");
  check_plain_path(out, item["path"].as_string(), place(at, "path"));
  check_mode(out, item, at, "mode");
  check_user(out, item, at, "user");
}

void check_items(causes& out, const json::value& items, const place& at) {
  for (std::size_t i = 0; i < items.size(); ++i) check_item(out, items[i], place(at, i));
}

void check_secret(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "secretName");
  check_mode(out, s, at, "defaultMode");
  check_user(out, s, at, "defaultUser");
  check_items(out, s["items"], place(at, "items"));
}

void check_config_map(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "name");
  check_mode(out, s, at, "defaultMode");
  check_user(out, s, at, "defaultUser");
  check_items(out, s["items"], place(at, "items"));
}

// The real server names no index here.
void check_downward_file(causes& out, const json::value& file, const place& at) {
  need(out, file, at, "path");
  check_plain_path(out, file["path"].as_string(), place(at, "path"));
  const bool resource = file["resourceFieldRef"].is_object();
  if (file["fieldRef"].is_object()) {
    check_field_ref(out, file["fieldRef"], place(at, "fieldRef"), true);
    if (resource)
      out.push_back(invalid_value(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"));
  } else if (resource) {
    check_resource_field_ref(out, file["resourceFieldRef"], place(at, "resourceFieldRef"), true);
  } else {
    out.push_back(required(at, "one of fieldRef and resourceFieldRef is required"));
  }
  check_mode(out, file, at, "mode");
  check_user(out, file, at, "user");
}

void check_downward(causes& out, const json::value& s, const place& at) {
  check_mode(out, s, at, "defaultMode");
  check_user(out, s, at, "defaultUser");
  for (std::size_t i = 0; i < s["items"].size(); ++i) check_downward_file(out, s["items"][i], at);
}

void check_git(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "repository");
  check_descending_path(out, s["directory"].as_string(), place(at, "directory"));
}

void check_claim(causes& out, const json::value& s, const place& at) { need(out, s, at, "claimName"); }
void check_pod_iscsi(causes& out, const json::value& s, const place& at) { check_iscsi(out, s, at, nullptr); }
void check_pod_cinder(causes& out, const json::value& s, const place& at) { check_cinder(out, s, at, false); }
void check_pod_storage_os(causes& out, const json::value& s, const place& at) { check_storage_os(out, s, at, false); }

void check_csi(causes& out, const json::value& s, const place& at) {
  check_csi_driver_name(out, s["driver"].as_string(), place(at, "driver"));
  auto& secret = s["nodePublishSecretRef"];
  if (!secret.is_object()) return;
  if (need(out, secret, place(at, "nodePublishSecretRef"), "name"))
    add_problems(out, place(at, "name"), secret["name"], check_dns1123_subdomain(secret["name"].as_string()));
}

void check_ephemeral(causes& out, const json::value& s, const place& at) {
  auto& claim = s["volumeClaimTemplate"];
  if (!claim.is_object()) return out.push_back(required(place(at, "volumeClaimTemplate")));
  const place here(at, "volumeClaimTemplate");
  check_template_metadata(out, claim["metadata"], place(here, "metadata"));
  check_claim_spec(out, claim["spec"], place(here, "spec"), {});
}

// What a projected volume is made of.
class projection {
 public:
  projection(causes& out, const place& at, const pod_options& options) : out_(out), at_(at), options_(options) {}

  void source(const json::value& s, const place& at) {
    int kinds = 0;
    auto has = [&](std::string_view member) { return s[member].is_object() && ++kinds; };
    for (auto member : {"secret", "configMap"})
      if (has(member)) items(s[member], place(at, member));
    if (has("downwardAPI")) downward(s["downwardAPI"], place(at, "downwardAPI"));
    if (has("serviceAccountToken")) token(s["serviceAccountToken"], place(at, "serviceAccountToken"));
    if (has("clusterTrustBundle")) trust_bundle(s["clusterTrustBundle"], place(at, "clusterTrustBundle"));
    if (has("podCertificate")) certificate(s["podCertificate"], place(at, "podCertificate"));
    if (kinds > 1) out_.push_back(forbidden_value(at, "may not specify more than 1 volume type per source"));
  }

 private:
  void once(std::string_view path, std::string_view told) {
    if (!paths_.insert(path).second) out_.push_back(invalid_value(at_, told, "conflicting duplicate paths"));
  }

  void items(const json::value& s, const place& at) {
    need(out_, s, at, "name");
    for (std::size_t i = 0; i < s["items"].size(); ++i) {
      check_item(out_, s["items"][i], place(at, "items", i));
      if (auto path = s["items"][i]["path"].as_string(); !path.empty()) once(path, s["name"].as_string());
    }
  }

  void downward(const json::value& s, const place& at) {
    for (std::size_t i = 0; i < s["items"].size(); ++i) {
      check_downward_file(out_, s["items"][i], at);
      if (auto path = s["items"][i]["path"].as_string(); !path.empty()) once(path, path);
    }
  }

  void token(const json::value& s, const place& at) {
    constexpr std::int64_t least_seconds = 600, most_seconds = std::int64_t{1} << 32;
    auto& seconds = s["expirationSeconds"];
    const place of_seconds(at, "expirationSeconds");
    if (seconds.is_null())
      out_.push_back(required(of_seconds));
    else if (seconds.as_integer() < least_seconds)
      out_.push_back(invalid_value(of_seconds, seconds, "may not specify a duration less than 10 minutes"));
    else if (seconds.as_integer() > most_seconds)
      out_.push_back(invalid_value(of_seconds, seconds, "may not specify a duration larger than 2^32 seconds"));
    if (s["path"].as_string().empty())
      out_.push_back(required(place(at_, "path")));
    else if (!options_.any_token_path)
      check_plain_path(out_, s["path"].as_string(), place(at_, "path"));
    check_user(out_, s, at, "user");
  }

  void trust_bundle(const json::value& s, const place& at) {
    const bool named = !s["name"].is_null(), signer = !s["signerName"].is_null();
    if (named && signer) {
      out_.push_back(invalid_value(at, internal_form("core/v1.ClusterTrustBundleProjection", s),
                                   "only one of name and signerName may be used"));
    } else if (named) {
      auto name = s["name"].as_string();
      if (name.empty()) out_.push_back(required(place(at, "name"), "must be a valid object name"));
      for (auto& text : check_trust_bundle_name(name, signer_in_bundle_name(name)))
        out_.push_back(invalid_value(place(at, "name"), name, "not a valid clustertrustbundlename: " + text));
      if (s["labelSelector"].is_object())
        out_.push_back(invalid_value(place(at, "labelSelector"), s["labelSelector"],
                                     "labelSelector must be unset if name is specified"));
    } else if (signer) {
      if (s["signerName"].as_string().empty())
        out_.push_back(required(place(at, "signerName"), "must be a valid signer name"));
      check_signer_name(out_, s["signerName"].as_string(), place(at, "signerName"));
      check_label_selector(out_, s["labelSelector"], place(at, "labelSelector"));
    } else {
      out_.push_back(required(at, "either name or signerName must be specified"));
    }
    auto path = s["path"].as_string();
    if (path.empty()) out_.push_back(required(place(at, "path")));
    check_user(out_, s, at, "user");
    check_plain_path(out_, path, place(at, "path"));
    once(path, path);
  }

  void certificate(const json::value& s, const place& at) {
    constexpr std::int64_t least_seconds = 3600, most_seconds = 91 * 86400, most_of_kubernetes = 86400;
    auto signer = s["signerName"].as_string();
    check_signer_name(out_, signer, place(at, "signerName"));
    if (auto notes = s["userAnnotations"].object()) check_user_annotations(out_, *notes, place(at, "userAnnotations"));
    check_user(out_, s, at, "user");
    if (s["keyType"].as_string().empty())
      out_.push_back(not_supported(place(at, "keyType"), "",
                                   {"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}));
    else
      one_of(out_, s, at, "keyType", {"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"});
    if (auto& seconds = s["maxExpirationSeconds"]; !seconds.is_null()) {
      const place here(at, "maxExpirationSeconds");
      if (seconds.as_integer() < least_seconds)
        out_.push_back(invalid_value(here, seconds, "if provided, maxExpirationSeconds must be >= 3600"));
      const auto most = is_kubernetes_signer(signer) ? most_of_kubernetes : most_seconds;
      if (seconds.as_integer() > most)
        out_.push_back(
            invalid_value(here, seconds, fmt::format("if provided, maxExpirationSeconds must be <= {}", most)));
    }
    bool any = false;
    for (auto member : {"credentialBundlePath", "keyPath", "certificateChainPath"}) {
      auto path = s[member].as_string();
      if (path.empty()) continue;
      any = true;
      check_plain_path(out_, path, place(at, member));
      once(path, path);
    }
    if (!any)
      out_.push_back(required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"));
  }

  causes& out_;
  const place& at_;  // of the volume's source
  const pod_options& options_;
  std::unordered_set<std::string_view> paths_;
};

// In the order in which the first one counts.
constexpr volume_source sources[] = {
    {"hostPath", "hostPath", "hostPath", check_host_path},
    {"gitRepo", "gitRepo", "gitRepo", check_git},
    {"gcePersistentDisk", "persistentDisk", "gcePersistentDisk", check_gce_disk},
    {"awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", check_aws_disk},
    {"secret", "secret", "secret", check_secret},
    {"nfs", "nfs", "nfs", check_nfs},
    {"iscsi", "iscsi", "iscsi", check_pod_iscsi},
    {"glusterfs", "glusterfs", "glusterfs", check_glusterfs},
    {"flocker", "flocker", "flocker", check_flocker},
    {"persistentVolumeClaim", "persistentVolumeClaim", "persistentVolumeClaim", check_claim},
    {"rbd", "rbd", "rbd", check_rbd},
    {"cinder", "cinder", "cinder", check_pod_cinder},
    {"cephfs", "cephfs", "cephFS", check_ceph},
    {"quobyte", "quobyte", "quobyte", check_quobyte},
    {"downwardAPI", "downwardAPI", "downwarAPI", check_downward},
    {"fc", "fc", "fc", check_fibre_channel},
    {"flexVolume", "flexVolume", "flexVolume", check_flex},
    {"configMap", "configMap", "configMap", check_config_map},
    {"azureFile", "azureFile", "azureFile", check_azure_file},
    {"vsphereVolume", "vsphereVolume", "vsphereVolume", check_vsphere},
    {"photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", check_photon},
    {"portworxVolume", "portworxVolume", "portworxVolume", check_portworx},
    {"azureDisk", "azureDisk", "azureDisk", check_azure_disk},
    {"storageos", "storageos", "storageos", check_pod_storage_os},
    {"projected", "projected", "projected", nullptr},
    {"scaleIO", "scaleIO", "scaleIO", check_scale_io},
    {"csi", "csi", "csi", check_csi},
    {"ephemeral", "ephemeral", "ephemeral", check_ephemeral},
    {"image", "image", "image", nullptr},
};

void check_empty_dir(causes& out, const json::value& s, const place& at) {
  if (auto q = schema::quantity::parse(s["sizeLimit"].as_string()); q && q->sign() < 0)
    out.push_back(forbidden_value(place(at, "sizeLimit"), "SizeLimit field must be a valid resource quantity"));
  if (auto& mode = s["mode"]; mode.is_integer() && (mode.as_integer() < 0 || mode.as_integer() > 01777))
    out.push_back(
        invalid_value(place(at, "mode"), mode, "must be a number between 0 and 01777 (octal), both inclusive"));
}

void check_projected(causes& out, const json::value& s, const place& at, const pod_options& options) {
  check_mode(out, s, at, "defaultMode");
  check_user(out, s, at, "defaultUser");
  projection p(out, at, options);
  for (std::size_t i = 0; i < s["sources"].size(); ++i) p.source(s["sources"][i], place(at, "sources", i));
}

void check_image(causes& out, const json::value& s, const place& at, const pod_options& options) {
  if (!options.empty_image_volumes) need(out, s, at, "reference");
  one_of_needed(out, s, at, "pullPolicy", {"Always", "IfNotPresent", "Never"});
}

void check_volume_source(causes& out, const json::value& v, const place& at, std::string_view pod_name,
                         const pod_options& options) {
  bool any = v["emptyDir"].is_object();
  if (any) check_empty_dir(out, v["emptyDir"], place(at, "emptyDir"));
  auto name = v["name"].as_string();
  for (auto& s : sources) {
    auto& source = v[s.member];
    if (!source.is_object()) continue;
    const place here(at, s.place);
    if (any)
      out.push_back(forbidden_value(place(at, s.second), "may not specify more than 1 volume type"));
    else if (s.check)
      s.check(out, source, here);
    else if (s.member == "projected")
      check_projected(out, source, here, options);
    else
      check_image(out, source, here, options);
    if (s.member == "iscsi")
      if (auto wrong = wrong_iscsi_session(name, source); !wrong.empty())
        out.push_back(invalid_value(place(at, "name"), name, wrong));
    if (s.member == "ephemeral" && !any && !pod_name.empty() && !name.empty()) {
      auto claim = fmt::format("{}-{}", pod_name, name);
      for (auto& text : check_dns1123_subdomain(claim))
        out.push_back(invalid_value(place(at, "name"), name, fmt::format("PVC name {}: {}", quote(claim), text)));
    }
    any = true;
  }
  if (!any) out.push_back(required(at, "must specify a volume type"));
}

}  // namespace

volume_set check_volumes(causes& out, const json::value& volumes, const place& at, std::string_view pod_name,
                         const pod_options& options) {
  volume_set good;
  std::unordered_set<std::string> made;  // claims that the pod makes of ephemeral volumes
  if (!pod_name.empty())
    for (std::size_t i = 0; i < volumes.size(); ++i)
      if (volumes[i]["ephemeral"].is_object())
        made.insert(fmt::format("{}-{}", pod_name, volumes[i]["name"].as_string()));
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    auto& v = volumes[i];
    const place here(at, i);
    const auto before = out.size();
    check_volume_source(out, v, here, pod_name, options);
    auto name = v["name"].as_string();
    if (need(out, v, here, "name")) add_problems(out, place(here, "name"), name, check_dns1123_label(name));
    if (good.contains(name)) out.push_back(duplicate_value(place(here, "name"), name));
    if (out.size() == before) good.emplace(name, &v);
    if (auto claim = v["persistentVolumeClaim"]["claimName"].as_string();
        v["persistentVolumeClaim"].is_object() && made.contains(std::string(claim)))
      out.push_back(invalid_value(place(here, "persistentVolumeClaim.claimName"), claim,
                                  "must not reference a PVC that gets created for an ephemeral volume"));
  }
  return good;
}

}  // namespace kedge::api
