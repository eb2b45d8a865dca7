// expander.cc: a claim that wants more than it has waits for its driver's resizer
// (persistentvolume-expander-controller). kube-controller-manager grows nothing by itself any more: it tells so, and
// says of a volume of the old built-in kinds which CSI driver's resizer is meant.
#include <fmt/format.h>

#include <algorithm>

#include "control/controllers.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "schema/quantity.h"

namespace kedge::control {

namespace {

constexpr std::string_view pre_resize_capacity = "volume.alpha.kubernetes.io/pre-resize-capacity";
constexpr std::string_view resizer_note = "volume.kubernetes.io/storage-resizer";

// Built-in kinds that CSI drivers took over: the member of a volume's spec, the plugin's name, the driver's.
struct moved {
  std::string_view member, plugin, driver;
};
constexpr moved moved_kinds[] = {
    {"gcePersistentDisk", "kubernetes.io/gce-pd", "pd.csi.storage.gke.io"},
    {"awsElasticBlockStore", "kubernetes.io/aws-ebs", "ebs.csi.aws.com"},
    {"cinder", "kubernetes.io/cinder", "cinder.csi.openstack.org"},
    {"azureDisk", "kubernetes.io/azure-disk", "disk.csi.azure.com"},
    {"azureFile", "kubernetes.io/azure-file", "file.csi.azure.com"},
    {"vsphereVolume", "kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"},
    {"portworxVolume", "kubernetes.io/portworx-volume", "pxd.portworx.com"},
};

schema::quantity amount(const json::value& v) {
  return schema::quantity::parse(v.as_string()).value_or(schema::quantity());
}
schema::quantity request_of(const json::value& claim) {
  return amount(claim["spec"]["resources"]["requests"]["storage"]);
}
schema::quantity capacity_of(const json::value& claim) { return amount(claim["status"]["capacity"]["storage"]); }

void grown_claim(const seen& s, keys& k) {
  if (s.deleted() || phase_of(s.value()) != "Bound") return;
  if (s.previous() && !(request_of(s.value_before()) < request_of(s.value())) &&
      !(capacity_of(s.value_before()) < capacity_of(s.value())))
    return;
  own_key(s, k);
}

plan look_at_claim(const view& cluster, const std::string& key, const moment& now) {
  plan p;
  auto claim = now.refused ? nullptr : cluster.get(claims, key);
  auto volume = claim ? cluster.get(volumes, {}, (*claim)["spec"]["volumeName"].as_string()) : nullptr;
  if (!volume || (*volume)["spec"]["claimRef"]["uid"].as_string() != uid_of(*claim)) return p;
  if (!(capacity_of(*claim) < request_of(*claim)) &&
      (*volume)["metadata"]["annotations"][pre_resize_capacity].is_null())
    return p;
  auto found = std::ranges::find_if(moved_kinds, [&](auto& m) { return (*volume)["spec"][m.member].is_object(); });
  if (found == std::end(moved_kinds))
    return p.tell(reference_to(*claim), "ExternalExpanding", "waiting for an external controller to expand this PVC");
  if ((*claim)["metadata"]["annotations"][resizer_note].as_string() != found->driver) {
    auto next = *claim;
    next.member("metadata").member("annotations").set(resizer_note, found->driver);
    p.write(update_of(claims, std::move(next), "status"));
  }
  return p.tell(
      reference_to(*claim), "ExternalExpanding",
      fmt::format("CSI migration enabled for {}; waiting for external resizer to expand the pvc", found->plugin));
}

}  // namespace

std::unique_ptr<controller> make_expander(const settings&) {
  return plain_controller({{claims, grown_claim}}, look_at_claim);
}

}  // namespace kedge::control
