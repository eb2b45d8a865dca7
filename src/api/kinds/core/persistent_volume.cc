#include "api/kinds/core/persistent_volume.h"

#include <fmt/format.h>

#include <utility>

#include "api/kinds/core/affinity.h"
#include "api/kinds/core/claim_spec.h"
#include "api/kinds/core/volumes.h"
#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "meta/difference.h"
#include "meta/internal_form.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

constexpr std::string_view class_annotation = "volume.beta.kubernetes.io/storage-class",
                           mount_annotation = "volume.beta.kubernetes.io/mount-options";

void check_persistent_glusterfs(causes& out, const json::value& s, const place& at) {
  check_glusterfs(out, s, at);
  auto& ns = s["endpointsNamespace"];
  const place here(at, "endpointsNamespace");
  if (ns.is_string() && ns.as_string().empty())
    out.push_back(invalid_value(here, "", "if the endpointnamespace is set, it must be a valid namespace name"));
  else if (ns.is_string())
    add_problems(out, here, ns, check_dns1123_label(ns.as_string()));
}

void check_persistent_azure_file(causes& out, const json::value& s, const place& at) {
  check_azure_file(out, s, at);
  if (s["secretNamespace"].is_string()) need(out, s, at, "secretNamespace");
}

void check_persistent_cinder(causes& out, const json::value& s, const place& at) { check_cinder(out, s, at, true); }
void check_persistent_storage_os(causes& out, const json::value& s, const place& at) {
  check_storage_os(out, s, at, true);
}

void check_local(causes& out, const json::value& s, const place& at) {
  if (need(out, s, at, "path")) check_no_steps_back(out, s["path"].as_string(), place(at, "path"));
}

void check_persistent_csi(causes& out, const json::value& s, const place& at) {
  check_csi_driver_name(out, s["driver"].as_string(), place(at, "driver"));
  need(out, s, at, "volumeHandle");
  for (auto member :
       {"controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"}) {
    auto& secret = s[member];
    if (!secret.is_object()) continue;
    const place here(at, member);
    if (need(out, secret, here, "name"))
      add_problems(out, place(here, "name"), secret["name"], check_dns1123_subdomain(secret["name"].as_string()));
    if (need(out, secret, here, "namespace"))
      add_problems(out, place(here, "namespace"), secret["namespace"],
                   check_dns1123_label(secret["namespace"].as_string()));
  }
}

// In the order in which the first one counts.
constexpr volume_source sources[] = {
    {"hostPath", "hostPath", "hostPath", check_host_path},
    {"gcePersistentDisk", "persistentDisk", "gcePersistentDisk", check_gce_disk},
    {"awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", check_aws_disk},
    {"glusterfs", "glusterfs", "glusterfs", check_persistent_glusterfs},
    {"flocker", "flocker", "flocker", check_flocker},
    {"nfs", "nfs", "nfs", check_nfs},
    {"rbd", "rbd", "rbd", check_rbd},
    {"quobyte", "quobyte", "quobyte", check_quobyte},
    {"cephfs", "cephfs", "cephFS", check_ceph},
    {"iscsi", "iscsi", "iscsi", nullptr},
    {"cinder", "cinder", "cinder", check_persistent_cinder},
    {"fc", "fc", "fc", check_fibre_channel},
    {"flexVolume", "flexVolume", "flexVolume", check_flex},
    {"azureFile", "azureFile", "azureFile", check_persistent_azure_file},
    {"vsphereVolume", "vsphereVolume", "vsphereVolume", check_vsphere},
    {"photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", check_photon},
    {"portworxVolume", "portworxVolume", "portworxVolume", check_portworx},
    {"azureDisk", "azureDisk", "azureDisk", check_azure_disk},
    {"scaleIO", "scaleIO", "scaleIO", check_scale_io},
    {"local", "local", "local", check_local},
    {"storageos", "storageos", "storageos", check_persistent_storage_os},
    {"csi", "csi", "csi", check_persistent_csi},
};

void check_sources(causes& out, const json::value& spec, const place& at, std::string_view name) {
  bool any = false;
  for (auto& s : sources) {
    auto& source = spec[s.member];
    if (!source.is_object()) continue;
    const place here(at, s.place);
    if (any && s.member != "flexVolume")  // which the real server takes beside another
      out.push_back(forbidden_value(place(at, s.second), "may not specify more than 1 volume type"));
    else if (s.check)
      s.check(out, source, here);
    else
      check_iscsi(out, source, here, &name);
    if (s.member == "local" && !any && !spec["nodeAffinity"].is_object())
      out.push_back(required(place(at, "nodeAffinity"), "Local volume requires node affinity"));
    any = true;
  }
  if (!any) out.push_back(required(at, "must specify a volume type"));
}

void check_capacity(causes& out, const json::value& capacity, const place& at) {
  if (capacity.empty()) out.push_back(required(at));
  if (!capacity.find("storage") || capacity.size() > 1) out.push_back(not_supported(at, capacity, {"storage"}));
  auto list = capacity.object();
  if (!list) return;
  for (auto& m : *list) {
    auto q = schema::quantity::parse(m.value.as_string());
    if (!q || q->sign() > 0) continue;
    const auto here = place::of_key(at, m.name);
    if (q->value() < 0) out.push_back(invalid_value(here, q->value(), "must be a valid resource quantity"));
    out.push_back(invalid_value(here, q->text(), "must be greater than zero"));
  }
}

// Whether a path is "/" when its dots are followed.
bool is_root(std::string_view path) {
  if (!path.starts_with('/')) return false;
  std::size_t depth = 0;
  for (auto step : split(path, '/')) {
    if (step.empty() || step == ".") continue;
    if (step != "..")
      ++depth;
    else if (depth > 0)
      --depth;
  }
  return depth == 0;
}

void check_attributes_class(causes& out, const json::value& spec, const place& at) {
  auto& name = spec["volumeAttributesClassName"];
  if (!name.is_string()) return;
  const place here(at, "volumeAttributesClassName");
  if (name.as_string().empty())
    out.push_back(required(here, "an empty string is disallowed"));
  else
    add_problems(out, here, name, check_dns1123_subdomain(name.as_string()));
  if (!spec["csi"].is_object())
    out.push_back(required(place(at, "csi"), "has to be specified when using volumeAttributesClassName"));
}

// What only a volume of its own has.
void check_own(causes& out, const json::value& spec, const place& at, const volume_rules& rules) {
  check_capacity(out, spec["capacity"], place(at, "capacity"));
  if (!spec["persistentVolumeReclaimPolicy"].as_string().empty())
    one_of(out, spec, at, "persistentVolumeReclaimPolicy", {"Delete", "Recycle", "Retain"});
  auto& affinity = spec["nodeAffinity"];
  if (!affinity.is_object()) return;
  const place of_affinity(at, "nodeAffinity");
  if (affinity["required"].is_object())
    check_node_selector(out, affinity["required"], place(of_affinity, "required"), rules.any_label_values);
  else
    out.push_back(required(place(of_affinity, "required"), "must specify required node constraints"));
}

void check_own_rest(causes& out, const json::value& spec, const place& at) {
  if (auto name = spec["storageClassName"].as_string(); !name.empty())
    add_problems(out, place(at, "storageClassName"), name, check_dns1123_subdomain(name));
  one_of(out, spec, at, "volumeMode", {"Block", "Filesystem"});
  check_attributes_class(out, spec, at);
}

// What a volume of a VolumeAttachment has no say in.
void check_inline(causes& out, const json::value& spec, const place& at) {
  constexpr std::string_view text = "may not be specified in the context of inline volumes";
  if (auto policy = spec["persistentVolumeReclaimPolicy"].as_string(); !policy.empty() && policy != "Retain")
    out.push_back(forbidden_value(place(at, "persistentVolumeReclaimPolicy"),
                                  "may only be Retain in the context of inline volumes"));
  if (spec["nodeAffinity"].is_object()) out.push_back(forbidden_value(place(at, "nodeAffinity"), text));
}

void check_inline_rest(causes& out, const json::value& spec, const place& at) {
  if (!spec["storageClassName"].as_string().empty())
    out.push_back(
        forbidden_value(place(at, "storageClassName"), "may not be specified in the context of inline volumes"));
  if (auto& mode = spec["volumeMode"]; mode.is_string() && mode.as_string() != "Filesystem")
    out.push_back(forbidden_value(place(at, "volumeMode"),
                                  "may not specify volumeMode other than Filesystem in the context of inline volumes"));
}

void check_mount_annotation(causes& out, const json::value& o) {
  if (!o["metadata"]["annotations"].find(mount_annotation)) return;
  for (auto s : {"gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "nfs", "rbd", "quobyte", "iscsi", "cinder",
                 "cephfs", "azureFile", "vsphereVolume", "azureDisk", "photonPersistentDisk"})
    if (o["spec"][s].is_object()) return;
  out.push_back(forbidden_value("metadata.annotations.volume.beta.kubernetes.io/mount-options",
                                "may not specify mount options for this volume type"));
}

void check(causes& out, const json::value& o, bool any_label_values) {
  check_volume_spec(out, o["spec"], "spec",
                    {.name = o["metadata"]["name"].as_string(), .any_label_values = any_label_values});
  check_mount_annotation(out, o);
}

void validate(causes& out, const json::value& o) { check(out, o, false); }

// What the volume is made of, alone.
json::value source_of(const json::value& spec) {
  json::object out;
  for (auto& s : sources)
    if (auto& source = spec[s.member]; !source.is_null()) out.set(std::string(s.member), source);
  return out;
}

json::value shown_source(const json::value& source) {
  auto form = internal_form("core/v1.PersistentVolumeSpec", source);
  for (auto member : {"Capacity", "AccessModes", "ClaimRef", "PersistentVolumeReclaimPolicy", "StorageClassName",
                      "MountOptions", "VolumeMode", "NodeAffinity", "VolumeAttributesClassName"})
    form.erase(member);
  return form;
}

void check_source_stays(causes& out, const json::value& spec, const json::value& before) {
  auto now = source_of(spec);
  const auto was = source_of(before);
  if (before["csi"].is_object() && !before["csi"].find("controllerExpandSecretRef") && now["csi"].is_object())
    now.member("csi").erase("controllerExpandSecretRef");
  if (now == was) return;
  out.push_back(forbidden_value("spec.persistentvolumesource",
                                fmt::format("spec.persistentvolumesource is immutable after creation\n{}",
                                            difference_text(shown_source(was), shown_source(now)))));
}

// Whether a key may be the other's successor.
bool renames(std::string_view before, std::string_view now) {
  constexpr std::pair<std::string_view, std::string_view> names[] = {
      {"failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"},
      {"failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"},
      {"beta.kubernetes.io/os", "kubernetes.io/os"},
      {"beta.kubernetes.io/arch", "kubernetes.io/arch"},
      {"beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"},
  };
  for (auto& [beta, good] : names)
    if (beta == before && good == now) return true;
  return false;
}

// `before` with keys that `now` has renamed.
json::value renamed(json::value before, const json::value& now) {
  auto terms = before.member("required").member("nodeSelectorTerms").array();
  if (!terms) return before;
  for (std::size_t i = 0; i < terms->size(); ++i)
    for (auto list : {"matchExpressions", "matchFields"}) {
      auto found = (*terms)[i].find(list);
      auto rules = found ? found->array() : nullptr;
      for (std::size_t j = 0; rules && j < rules->size(); ++j)
        if (auto& key = now["required"]["nodeSelectorTerms"][i][list][j]["key"];
            renames((*rules)[j]["key"].as_string(), key.as_string()))
          (*rules)[j].set("key", key);
    }
  return before;
}

void check_affinity_stays(causes& out, const json::value& now, const json::value& before) {
  if (before.is_null() || now == before || renamed(before, now) == now) return;
  out.push_back(invalid_value("nodeAffinity", internal_form("core/v1.VolumeNodeAffinity", now),
                              "field is immutable, except for updating from beta label to GA"));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto &spec = o["spec"], &before = old["spec"];
  check(out, o, has_bad_label_values(before["nodeAffinity"]["required"]["nodeSelectorTerms"]));
  check_source_stays(out, spec, before);
  immutable(out, spec["volumeMode"], before["volumeMode"], "volumeMode");
  check_affinity_stays(out, spec["nodeAffinity"], before["nodeAffinity"]);
  if (before["volumeAttributesClassName"].is_string() && spec["volumeAttributesClassName"].is_null())
    out.push_back(forbidden_value("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden"));
}

void validate_part(causes&, const json::value&, const json::value&, std::string_view) {}

void prepare_create(json::value& o, const kind_context& c) {
  o.set("status", json::object{{"phase", "Pending"}, {"lastPhaseTransitionTime", format_rfc3339(c.now)}});
}

// A status that doesn't say since when it is in its phase is told.
void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource != "status") return;
  auto &now = o["status"], &before = old["status"];
  auto &since = now["lastPhaseTransitionTime"], &was = before["lastPhaseTransitionTime"];
  const bool same = now["phase"].as_string() == before["phase"].as_string();
  if (same && since.is_null() && !was.is_null())
    o.member("status").set("lastPhaseTransitionTime", was);
  else if (!same && (since.is_null() || since == was))
    o.member("status").set("lastPhaseTransitionTime", format_rfc3339(c.now));
}

void warn(warnings& out, const json::value& o, const json::value*) {
  auto& notes = o["metadata"]["annotations"];
  if (notes.find(class_annotation))
    out.push_back(
        fmt::format("metadata.annotations[{}]: deprecated since v1.8; use \"storageClassName\" attribute instead",
                    class_annotation));
  if (notes.find(mount_annotation))
    out.push_back(fmt::format(
        "metadata.annotations[{}]: deprecated since v1.31; use \"mountOptions\" attribute instead", mount_annotation));
  auto& spec = o["spec"];
  if (spec["persistentVolumeReclaimPolicy"].as_string() == "Recycle")
    out.push_back(
        "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended "
        "approach is to use dynamic provisioning.");
  auto& terms = spec["nodeAffinity"]["required"]["nodeSelectorTerms"];
  const place of_terms("spec.nodeAffinity.required.nodeSelectorTerms");
  for (std::size_t i = 0; i < terms.size(); ++i) warn_node_selector_term(out, terms[i], place(of_terms, i), false);
  constexpr std::pair<std::string_view, std::string_view> gone[] = {
      {"cephfs", "spec.cephfs: deprecated in v1.28, non-functional in v1.31+"},
      {"photonPersistentDisk", "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+"},
      {"scaleIO", "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+"},
      {"storageos", "spec.storageOS: deprecated in v1.22, non-functional in v1.25+"},
      {"glusterfs", "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+"},
      {"rbd", "spec.rbd: deprecated in v1.28, non-functional in v1.31+"},
  };
  for (auto& [member, text] : gone)
    if (spec[member].is_object()) out.emplace_back(text);
}

}  // namespace

void check_volume_spec(causes& out, const json::value& spec, const place& at, const volume_rules& rules) {
  const bool is_inline = rules.in_attachment;
  if (is_inline) {
    constexpr std::string_view text = "may not be specified in the context of inline volumes";
    if (spec["claimRef"].is_object()) out.push_back(forbidden_value(place(at, "claimRef"), text));
    if (!spec["capacity"].empty()) out.push_back(forbidden_value(place(at, "capacity"), text));
    if (!spec["csi"].is_object())
      out.push_back(required(place(at, "csi"), "has to be specified in the context of inline volumes"));
  }
  need(out, spec, at, "accessModes");
  check_access_modes(out, spec["accessModes"], place(at, "accessModes"));
  is_inline ? check_inline(out, spec, at) : check_own(out, spec, at, rules);
  check_sources(out, spec, at, rules.name);
  if (is_root(spec["hostPath"]["path"].as_string()) && spec["persistentVolumeReclaimPolicy"].as_string() == "Recycle")
    out.push_back(forbidden_value(place(at, "persistentVolumeReclaimPolicy"),
                                  "may not be 'recycle' for a hostPath mount of '/'"));
  is_inline ? check_inline_rest(out, spec, at) : check_own_rest(out, spec, at);
}

const kind_rules kinds::persistent_volumes{.group = "",
                                           .resource = "persistentvolumes",
                                           .answers_deleted_object = true,
                                           .keeps_status_on_create = true,
                                           .prepare_create = prepare_create,
                                           .prepare_update = prepare_update,
                                           .validate = validate,
                                           .validate_update = validate_update,
                                           .validate_part = validate_part,
                                           .warn = warn};

}  // namespace kedge::api
