// dynamic_resources.cc: DynamicResources: pods that claim devices (resource.k8s.io). None is allocated here, so such a
// pod waits: it would run without what it asked for.
#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {
namespace {

class dynamic_resources final : public plugin {
 public:
  std::string_view name() const noexcept override { return "DynamicResources"; }
  bool filters() const noexcept override { return true; }
  prefiltered prefilter(const pod_view& pod, const cluster_view&) const override {
    prefiltered out{.skip = !pod.is->claims_devices};
    if (!out.skip) out.refused = verdict::never("Kedge's scheduler allocates no devices for spec.resourceClaims");
    return out;
  }
};

}  // namespace

plugin_result make_dynamic_resources(const json::value&) { return std::make_unique<dynamic_resources>(); }

}  // namespace kedge::control::scheduler
