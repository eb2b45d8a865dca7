// storage.k8s.io/v1, scheduling.k8s.io/v1: pkg/apis/storage/v1/defaults.go, pkg/apis/scheduling/v1/defaults.go
#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

void storage_class(const target& t) {
  t.fill("reclaimPolicy", "Delete");
  t.fill("volumeBindingMode", "Immediate");
}

void csi_driver(const target& t) {
  auto spec = t.inside("spec");
  spec.fill("attachRequired", true);
  spec.fill("podInfoOnMount", false);
  spec.fill("storageCapacity", false);
  spec.fill("fsGroupPolicy", "ReadWriteOnceWithFSType");
  if (spec["volumeLifecycleModes"].empty()) spec.set("volumeLifecycleModes", json::array{"Persistent"});
  spec.fill("requiresRepublish", false);
  spec.fill("seLinuxMount", false);
  spec.fill("preventPodSchedulingIfMissing", false);
}

constexpr rule rules[] = {
    {"storage/v1.StorageClass", storage_class},
    {"storage/v1.CSIDriver", csi_driver},
    {"scheduling/v1.PriorityClass", [](const target& t) { t.fill("preemptionPolicy", "PreemptLowerPriority"); }},
};

}  // namespace

std::span<const rule> storage_rules() { return rules; }

}  // namespace kedge::schema::defaults
