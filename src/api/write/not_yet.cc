#include "api/write/not_yet.h"

namespace kedge::api {
namespace {

bool claims_devices(const json::value& pod) { return !pod["spec"]["resourceClaims"].empty(); }

constexpr std::string_view no_devices =
    "Kedge allocates no devices by resource.k8s.io yet: pods that claim them stay Pending";

constexpr not_yet rows[] = {
    {"networking.k8s.io", "ingresses", nullptr,
     "Kedge brings no ingress controller yet: without one of your own this ingress leads nowhere"},
    {"", "pods", claims_devices, no_devices},
    {"resource.k8s.io", "deviceclasses", nullptr, no_devices},
    {"resource.k8s.io", "devicetaintrules", nullptr, no_devices},
    {"resource.k8s.io", "resourceclaims", nullptr, no_devices},
    {"resource.k8s.io", "resourceclaimtemplates", nullptr, no_devices},
    {"resource.k8s.io", "resourceslices", nullptr, no_devices},
    {"storagemigration.k8s.io", "storageversionmigrations", nullptr,
     "Kedge writes no stored objects anew by migrations yet: this one does not begin"},
};

}  // namespace

std::span<const not_yet> all_not_yet() { return rows; }

void warn_not_yet(std::vector<std::string>& out, std::string_view group, std::string_view resource,
                  const json::value& object) {
  for (auto& r : rows)
    if (r.resource == resource && r.group == group && (!r.applies || r.applies(object))) out.emplace_back(r.text);
}

}  // namespace kedge::api
