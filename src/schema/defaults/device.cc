// resource.k8s.io/v1: pkg/apis/resource/v1/defaults.go
#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

void device_request(const target& t) {
  t.fill_zero("allocationMode", "ExactCount");
  if (t["allocationMode"].as_string() == "ExactCount") t.fill_zero("count", 1);
}

constexpr rule rules[] = {
    {"resource/v1.ExactDeviceRequest", device_request},
    {"resource/v1.DeviceSubRequest", device_request},
};

}  // namespace

std::span<const rule> device_rules() { return rules; }

}  // namespace kedge::schema::defaults
