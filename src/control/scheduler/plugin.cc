#include "control/scheduler/plugin.h"

#include <algorithm>

namespace kedge::control::scheduler {
namespace {

struct known_plugin {
  std::string_view name;
  std::int64_t weight;
  plugin_result (*make)(const json::value&);
};

// kube-scheduler's default order: what refuses most cheaply comes first, and the words of the first that refuses are
// told.
constexpr known_plugin known[] = {
    {"NodeName", 0, make_node_name},
    {"NodeUnschedulable", 0, make_node_unschedulable},
    {"TaintToleration", 3, make_taint_toleration},
    {"NodeAffinity", 2, make_node_affinity},
    {"NodePorts", 0, make_node_ports},
    {"NodeResourcesFit", 1, make_node_resources_fit},
    {"VolumeRestrictions", 0, make_volume_restrictions},
    {"NodeVolumeLimits", 0, make_node_volume_limits},
    {"VolumeBinding", 0, make_volume_binding},
    {"VolumeZone", 0, make_volume_zone},
    {"PodTopologySpread", 2, make_pod_topology_spread},
    {"InterPodAffinity", 2, make_inter_pod_affinity},
    {"DynamicResources", 2, make_dynamic_resources},
    {"NodeResourcesBalancedAllocation", 1, make_balanced_allocation},
    {"ImageLocality", 1, make_image_locality},
    {"NodeDeclaredFeatures", 0, make_node_declared_features},
};

}  // namespace

void normalise_to_max(std::span<std::int64_t> scores, bool reverse) {
  std::int64_t most = 0;
  for (auto s : scores) most = std::max(most, s);
  for (auto& s : scores) {
    auto part = most == 0 ? 0 : score_max * s / most;
    s = reverse ? score_max - part : part;
  }
}

plugin_result make_plugin(std::string_view name, const json::value& arguments) {
  for (auto& p : known)
    if (p.name == name) return p.make(arguments);
  return std::unique_ptr<plugin>();
}

std::span<const default_plugin> default_plugins() noexcept {
  static const auto all = [] {
    std::vector<default_plugin> out;
    for (auto& p : known) out.push_back({p.name, p.weight});
    return out;
  }();
  return all;
}

}  // namespace kedge::control::scheduler
