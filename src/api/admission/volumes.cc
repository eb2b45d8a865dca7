// volumes.cc: volumes and claims are kept while in use, and grow only where their class allows it.
#include <algorithm>

#include "api/admission/plugin.h"
#include "api/registry/lookup.h"
#include "pod/amounts.h"

namespace kedge::api {
namespace {

void add_finalizer(json::value& object, std::string_view finalizer) {
  auto& finalizers = object.member("metadata").member("finalizers").make_array();
  auto same = [&](const json::value& f) { return f.as_string() == finalizer; };
  if (std::none_of(finalizers.begin(), finalizers.end(), same)) finalizers.emplace_back(finalizer);
}

api_result<void> protect(admission_request& r, plugin_context&) {
  if (r.what != operation::create || !r.object) return {};
  if (concerns(r, "", "persistentvolumeclaims")) add_finalizer(*r.object, "kubernetes.io/pvc-protection");
  if (concerns(r, "", "persistentvolumes")) add_finalizer(*r.object, "kubernetes.io/pv-protection");
  if (concerns(r, "storage.k8s.io", "volumeattributesclasses"))
    add_finalizer(*r.object, "kubernetes.io/vac-protection");
  return {};
}

api_result<void> check_resize(admission_request& r, plugin_context& c) {
  if (!concerns(r, "", "persistentvolumeclaims") || r.what != operation::update || !r.object || !r.old) return {};
  auto size = [](const json::value& claim) {
    return pod::amount_of(claim["spec"]["resources"]["requests"]["storage"]);
  };
  if (!(size(*r.old) < size(*r.object))) return {};
  if ((*r.old)["status"]["phase"].as_string() != "Bound")
    return fail(refused(r, "Only bound persistent volume claims can be expanded"));
  auto name = annotation_of(*r.object, "volume.beta.kubernetes.io/storage-class");
  if (name.empty()) name = (*r.object)["spec"]["storageClassName"].as_string();
  auto found = name.empty() ? std::nullopt : read_object(c.cluster, object_key("storageclasses", {}, name));
  if (!found || !(*found)["allowVolumeExpansion"].as_bool())
    return fail(refused(r,
                        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc "
                        "must support resize"));
  return {};
}

}  // namespace

const plugin plugins::storage_object_in_use_protection{
    .name = "StorageObjectInUseProtection", .operations = on_create, .mutate = protect};
const plugin plugins::volume_claim_resize{
    .name = "PersistentVolumeClaimResize", .operations = on_update, .validate = check_resize};

}  // namespace kedge::api
