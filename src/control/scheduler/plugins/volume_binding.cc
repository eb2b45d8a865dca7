// volume_binding.cc: VolumeBinding: a pod goes where its volumes are, or can be had.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "control/scheduler/plugins/shape.h"
#include "control/scheduler/volume_choice.h"

namespace kedge::control::scheduler {
namespace {

struct claims_state final : plugin_state {
  pod_claims claims;
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<claims_state>(*this); }
};

class volume_binding final : public plugin {
 public:
  explicit volume_binding(std::vector<shape_point> shape) : shape_(std::move(shape)) {}
  std::string_view name() const noexcept override { return "VolumeBinding"; }
  bool filters() const noexcept override { return true; }
  bool scores() const noexcept override { return true; }

  prefiltered prefilter(const pod_view& pod, const cluster_view& cluster) const override {
    if (pod.is->claims.empty()) return {.skip = true};
    prefiltered out;
    out.refused = check_claims(pod, cluster.storage());
    if (!out.refused) return out;
    auto state = std::make_unique<claims_state>();
    state->claims = claims_of(pod, cluster.storage());
    if (!state->claims.immediate.empty())
      out.refused = verdict::never("pod has unbound immediate PersistentVolumeClaims");
    out.state = std::move(state);
    return out;
  }
  verdict filter(const pod_view&, const node_view& node, const plugin_state* state,
                 const cluster_view& cluster) const override {
    return find_volumes(static_cast<const claims_state*>(state)->claims, node, cluster.storage()).why;
  }

  std::unique_ptr<plugin_state> prescore(const pod_view& pod, std::span<const node_view* const>,
                                         const cluster_view& cluster) const override {
    auto state = std::make_unique<claims_state>();
    state->claims = claims_of(pod, cluster.storage());
    if (state->claims.waiting.empty()) return nullptr;
    return state;
  }
  // How much of the volumes, or of what there is to make them of, the claims fill: by class, on average.
  std::int64_t score(const pod_view&, const node_view& node, const plugin_state& state,
                     const cluster_view& cluster) const override {
    struct filling {
      std::int64_t requested = 0, capacity = 0;
    };
    std::map<std::string_view, filling> by_class;
    auto requested = [](const claim_view& c) { return c.request ? c.request->value() : 0; };
    auto plan = find_volumes(static_cast<const claims_state&>(state).claims, node, cluster.storage()).plan;
    for (auto& b : plan.bindings) {
      auto& f = by_class[b.volume->storage_class];
      f.requested += requested(*b.claim);
      f.capacity += b.volume->capacity.value();
    }
    if (plan.bindings.empty())
      for (auto& p : plan.provisions) {
        if (!p.capacity) continue;
        auto& f = by_class[p.claim->storage_class];
        f.requested += requested(*p.claim);
        f.capacity = *p.capacity;
      }
    if (by_class.empty()) return 0;
    constexpr std::int64_t full = 100;
    std::int64_t sum = 0;
    for (auto& [name, f] : by_class)
      sum += on_shape(shape_, f.capacity == 0 || f.requested > f.capacity ? full : f.requested * full / f.capacity);
    return static_cast<std::int64_t>(std::round(static_cast<double>(sum) / static_cast<double>(by_class.size())));
  }

  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    switch (e.what) {
      case cluster_event::kind::everything:
      case cluster_event::kind::pending_updated:
      case cluster_event::kind::volumes:
      case cluster_event::kind::classes:
      case cluster_event::kind::csi_drivers:
      case cluster_event::kind::capacities: return true;
      case cluster_event::kind::claims: return uses_claim(pod, e.ns, e.claim);
      case cluster_event::kind::node: return e.node_changes & (node_added | node_labels);
      default: return false;
    }
  }

 private:
  std::vector<shape_point> shape_;
};

}  // namespace

plugin_result make_volume_binding(const json::value& a) {
  // An empty node is best: kube-scheduler's default.
  std::vector<shape_point> shape{{0, score_max}, {100, 0}};
  if (!a["shape"].empty()) { KEDGE_TRY(shape, shape_of(a["shape"], "shape")); }
  if (auto t = a["bindTimeoutSeconds"].as_integer(); t < 0)
    return fail(errc::invalid, fmt::format("bindTimeoutSeconds: Invalid value: {}: invalid BindTimeoutSeconds, should "
                                           "not be a negative value",
                                           t));
  return std::make_unique<volume_binding>(std::move(shape));
}

}  // namespace kedge::control::scheduler
