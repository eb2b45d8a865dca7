// storage_kinds.cc: volumes: PersistentVolume and its claim, StorageClass, and what CSI drivers need.
#include "api/kind_rules.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

constexpr std::string_view storage_group = "storage.k8s.io";

void check_modes(causes& out, const json::value& spec) {
  if (spec["accessModes"].empty()) out.push_back(required("spec.accessModes", "at least 1 access mode is required"));
  for (std::size_t i = 0; i < spec["accessModes"].size(); ++i) {
    auto m = spec["accessModes"][i].as_string();
    if (m != "ReadOnlyMany" && m != "ReadWriteMany" && m != "ReadWriteOnce" && m != "ReadWriteOncePod")
      out.push_back(not_supported("spec.accessModes", m, {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"}));
  }
  one_of(out, spec, "spec", "volumeMode", {"Block", "Filesystem"});
}

void volume(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  check_modes(out, spec);
  if (spec["capacity"].empty()) out.push_back(required("spec.capacity"));
  if (auto list = spec["capacity"].object())
    for (auto& m : *list)
      if (auto q = schema::quantity::parse(m.value.as_string()); q && q->sign() <= 0)
        out.push_back(invalid_value(at_key("spec.capacity", m.name), m.value, "must be greater than zero"));
  one_of(out, spec, "spec", "persistentVolumeReclaimPolicy", {"Delete", "Recycle", "Retain"});
  int sources = 0;
  for (auto s : {"hostPath", "local", "nfs", "csi", "iscsi", "fc", "rbd", "cephfs", "awsElasticBlockStore", "gcePersistentDisk", "azureDisk", "azureFile", "cinder", "flexVolume", "flocker",
                 "glusterfs", "photonPersistentDisk", "portworxVolume", "quobyte", "scaleIO", "storageos", "vsphereVolume"})
    if (spec[s].is_object() && ++sources > 1) out.push_back(forbidden_value(under("spec", s), "may not specify more than 1 volume type"));
  if (sources == 0) out.push_back(required("spec", "must specify a volume type"));
  if (spec["local"].is_object() && !spec["nodeAffinity"]["required"].is_object()) out.push_back(required("spec.nodeAffinity", "Local volume requires node affinity"));
}

void volume_update(causes& out, const json::value& o, const json::value& old) {
  volume(out, o);
  for (auto s : {"hostPath", "local", "nfs", "csi"})
    if (!(o["spec"][s] == old["spec"][s])) {
      out.push_back(forbidden_value("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"));
      break;
    }
  immutable(out, o["spec"]["volumeMode"], old["spec"]["volumeMode"], "spec.volumeMode");
}

void volume_create(json::value& o, const kind_context& c) { o.set("status", json::object{{"phase", "Pending"}, {"lastPhaseTransitionTime", format_rfc3339(c.now)}}); }
void claim_create(json::value& o, const kind_context&) { o.set("status", json::object{{"phase", "Pending"}}); }

void claim(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  check_modes(out, spec);
  check_label_selector(out, spec["selector"], "spec.selector");
  auto& size = spec["resources"]["requests"]["storage"];
  if (size.is_null())
    out.push_back(required("spec.resources[storage]"));
  else if (auto q = schema::quantity::parse(size.as_string()); q && q->sign() <= 0)
    out.push_back(invalid_value("spec.resources[storage]", size, "must be greater than zero"));
  if (auto& name = spec["storageClassName"]; !name.as_string().empty()) add_problems(out, "spec.storageClassName", name, check_dns1123_subdomain(name.as_string()));
}

void claim_update(causes& out, const json::value& o, const json::value& old) {
  claim(out, o);
  auto allowed = old["spec"];
  if (old["spec"]["volumeName"].as_string().empty() && o["spec"].find("volumeName")) allowed.set("volumeName", o["spec"]["volumeName"]);
  if (o["spec"].find("volumeAttributesClassName")) allowed.set("volumeAttributesClassName", o["spec"]["volumeAttributesClassName"]);
  auto now = schema::quantity::parse(o["spec"]["resources"]["requests"]["storage"].as_string());
  auto was = schema::quantity::parse(old["spec"]["resources"]["requests"]["storage"].as_string());
  if (now && was && old["status"]["phase"].as_string() == "Bound") {
    if (*now < *was) {
      out.push_back(forbidden_value("spec.resources.requests.storage", "field can not be less than previous value"));
      return;
    }
    allowed.member("resources").member("requests").set("storage", o["spec"]["resources"]["requests"]["storage"]);
  }
  if (!(allowed == o["spec"]))
    out.push_back(forbidden_value("spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"));
}

void storage_class(causes& out, const json::value& o) {
  if (o["provisioner"].as_string().empty())
    out.push_back(required("provisioner"));
  else
    add_problems(out, "provisioner", o["provisioner"], check_qualified_name(o["provisioner"].as_string()));
  one_of(out, o, "", "reclaimPolicy", {"Delete", "Retain"});
  one_of(out, o, "", "volumeBindingMode", {"Immediate", "WaitForFirstConsumer"});
}
void storage_class_update(causes& out, const json::value& o, const json::value& old) {
  storage_class(out, o);
  if (!(o["parameters"] == old["parameters"])) out.push_back(forbidden_value("parameters", "updates to parameters are forbidden."));
  if (!(o["provisioner"] == old["provisioner"])) out.push_back(forbidden_value("provisioner", "updates to provisioner are forbidden."));
  if (!(o["reclaimPolicy"] == old["reclaimPolicy"])) out.push_back(forbidden_value("reclaimPolicy", "updates to reclaimPolicy are forbidden."));
  immutable(out, o["volumeBindingMode"], old["volumeBindingMode"], "volumeBindingMode");
}

void csi_node(causes& out, const json::value& o) {
  auto& list = o["spec"]["drivers"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    need(out, list[i], at("spec.drivers", i), "name");
    need(out, list[i], at("spec.drivers", i), "nodeID");
  }
}

void attachment(causes& out, const json::value& o) {
  need(out, o["spec"], "spec", "attacher");
  need(out, o["spec"], "spec", "nodeName");
  if (o["spec"]["source"].empty()) out.push_back(required("spec.source", "must specify one of inlineVolumeSpec and persistentVolumeName"));
}
void attachment_update(causes& out, const json::value& o, const json::value& old) {
  attachment(out, o);
  immutable(out, o["spec"], old["spec"], "spec");
}

void attributes_class(causes& out, const json::value& o) { need(out, o, "", "driverName"); }

}  // namespace

const kind_rules kinds::persistent_volumes{.group = "", .resource = "persistentvolumes", .answers_deleted_object = true, .keeps_status_on_create = true, .prepare_create = volume_create, .validate = volume, .validate_update = volume_update};
const kind_rules kinds::persistent_volume_claims{.group = "", .resource = "persistentvolumeclaims", .answers_deleted_object = true, .keeps_status_on_create = true, .prepare_create = claim_create, .validate = claim, .validate_update = claim_update};
const kind_rules kinds::storage_classes{.group = storage_group, .resource = "storageclasses", .answers_deleted_object = true, .validate = storage_class, .validate_update = storage_class_update};
const kind_rules kinds::csi_drivers{.group = storage_group, .resource = "csidrivers", .generation = true, .unconditional_update = false, .answers_deleted_object = true};
const kind_rules kinds::csi_nodes{.group = storage_group, .resource = "csinodes", .unconditional_update = false, .answers_deleted_object = true, .validate = csi_node};
const kind_rules kinds::csi_storage_capacities{.group = storage_group, .resource = "csistoragecapacities", .unconditional_update = false};
const kind_rules kinds::volume_attachments{.group = storage_group, .resource = "volumeattachments", .unconditional_update = false, .answers_deleted_object = true, .validate = attachment, .validate_update = attachment_update};
const kind_rules kinds::volume_attributes_classes{.group = storage_group, .resource = "volumeattributesclasses", .answers_deleted_object = true, .validate = attributes_class};

}  // namespace kedge::api
