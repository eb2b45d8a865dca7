// plugin.h: one rule of placing pods, as kube-scheduler's framework cuts it. A plugin keeps nothing between pods: what
// it finds out before it looks at nodes is its state of the cycle.
//
//   prefilter (once) ─▶ filter (each node) ─▶ prescore (once, over the nodes that passed) ─▶ score (each) ─▶ normalise
//
// Names, weights and words are kube-scheduler's (k8s.io/kubernetes/pkg/scheduler/framework/plugins).
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "control/scheduler/cluster_view.h"

namespace kedge::control::scheduler {

inline constexpr std::int64_t score_max = 100;

struct verdict {
  enum class kind : unsigned char {
    fits,
    unschedulable,  // the removal of pods may help
    unresolvable,   // it doesn't
    failed,         // nor can it be said: the attempt ends with an error
    unfinished,     // nor yet: the attempt is to be gone on with in another turn of the loop
  } what = kind::fits;
  std::vector<std::string> reasons;

  explicit operator bool() const noexcept { return what == kind::fits; }
  static verdict no(std::string why) { return {kind::unschedulable, {std::move(why)}}; }
  static verdict error(std::string why) { return {kind::failed, {std::move(why)}}; }
  static verdict later() { return {kind::unfinished, {}}; }
  static verdict never(std::string why) { return {kind::unresolvable, {std::move(why)}}; }
};

struct plugin_state {
  virtual ~plugin_state() = default;
  virtual std::unique_ptr<plugin_state> clone() const = 0;
};

struct prefiltered {
  bool skip = false;                          // filter() has nothing to say
  verdict refused;                            // no node will do
  std::optional<std::set<std::string>> only;  // the nodes that are left
  std::unique_ptr<plugin_state> state;
};

// What happened in the cluster that may let a refused pod fit.
struct cluster_event {
  enum class kind : unsigned char {
    node,             // added or changed: `node_changes`
    pod_added,        // a pod got a place
    pod_updated,      // a placed pod's labels or requests
    pod_removed,      // a place got free
    pending_updated,  // the refused pod itself
    namespaces,
    volumes,
    claims,
    classes,
    csi_nodes,
    csi_drivers,
    capacities,
    attachments,
    devices,         // slices of them, and their taints
    device_classes,  // class_before, class_after
    device_claims,
    services,
    everything,
  } what = kind::everything;
  unsigned node_changes = 0;
  const node_view* node = nullptr;  // as it is now
  const pod_view* pod = nullptr;    // the one that came, changed or went
  bool added = false;               // of claims, classes, csi_nodes: it is new
  std::string_view ns = {}, claim = {};
  const device_claim *claim_before = nullptr, *claim_after = nullptr;  // of device_claims
  const device_class *class_before = nullptr, *class_after = nullptr;
  const cluster_view* cluster = nullptr;  // of device_claims: as it is now
};

class plugin {
 public:
  virtual ~plugin() = default;
  virtual std::string_view name() const noexcept = 0;

  virtual bool filters() const noexcept { return false; }
  virtual prefiltered prefilter(const pod_view&, const cluster_view&) const { return {}; }
  // The same in the next turn of an attempt. `before`: its state of the last one, which the cluster may have left
  // behind; null: it skipped.
  virtual prefiltered prefilter_again(const pod_view& pod, const cluster_view& cluster,
                                      std::unique_ptr<plugin_state> /*before*/) const {
    return prefilter(pod, cluster);
  }
  virtual verdict filter(const pod_view&, const node_view&, const plugin_state*, const cluster_view&) const {
    return {};
  }
  // `other` came to (+1) or left (-1) the node in a thought experiment.
  virtual void moved(plugin_state&, const pod_view& /*pod*/, const pod_view& /*other*/, const node_view&, int,
                     const cluster_view&) const {}

  virtual bool scores() const noexcept { return false; }
  // Null: every node scores 0, and nothing is normalised.
  virtual std::unique_ptr<plugin_state> prescore(const pod_view&, std::span<const node_view* const>,
                                                 const cluster_view&) const {
    return nullptr;
  }
  // The same, for who found it out with the filters. `filtered`: its state of them; null: it skipped.
  virtual std::unique_ptr<plugin_state> prescore_after(const plugin_state* /*filtered*/, const pod_view& pod,
                                                       std::span<const node_view* const> nodes,
                                                       const cluster_view& cluster) const {
    return prescore(pod, nodes, cluster);
  }
  virtual std::int64_t score(const pod_view&, const node_view&, const plugin_state&, const cluster_view&) const {
    return 0;
  }
  // To 0 … score_max.
  virtual void normalise(std::span<std::int64_t>, std::span<const node_view* const>, const plugin_state&) const {}

  // Whether the event may make a pod fit that this plugin refused (a queueing hint: KEP-4247).
  virtual bool may_help(const cluster_event& e, const pod_view&) const {
    return e.what == cluster_event::kind::everything;
  }
};

// A state of what needs none.
struct no_state final : plugin_state {
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<no_state>(); }
};

// kube-scheduler's DefaultNormalizeScore.
void normalise_to_max(std::span<std::int64_t> scores, bool reverse);

// A plugin by its name with its arguments (KubeSchedulerConfiguration's pluginConfig; null: the defaults). Null for a
// name that is none; errc::invalid for arguments that can't be used.
result<std::unique_ptr<plugin>> make_plugin(std::string_view name, const json::value& arguments);
// All names, in the default order, with their weights.
struct default_plugin {
  std::string_view name;
  std::int64_t weight;
};
std::span<const default_plugin> default_plugins() noexcept;

// One each of plugins/.
using plugin_result = result<std::unique_ptr<plugin>>;
plugin_result make_node_name(const json::value&);
plugin_result make_node_unschedulable(const json::value&);
plugin_result make_taint_toleration(const json::value&);
plugin_result make_node_declared_features(const json::value&);
plugin_result make_node_affinity(const json::value& arguments);
plugin_result make_node_ports(const json::value&);
plugin_result make_node_resources_fit(const json::value& arguments);
plugin_result make_balanced_allocation(const json::value& arguments);
plugin_result make_image_locality(const json::value&);
plugin_result make_volume_restrictions(const json::value&);
plugin_result make_node_volume_limits(const json::value&);
plugin_result make_volume_binding(const json::value& arguments);
plugin_result make_volume_zone(const json::value&);
plugin_result make_pod_topology_spread(const json::value& arguments);
plugin_result make_inter_pod_affinity(const json::value& arguments);
plugin_result make_dynamic_resources(const json::value&);

}  // namespace kedge::control::scheduler
