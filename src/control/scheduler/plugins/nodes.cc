// nodes.cc: NodeName, NodeUnschedulable, TaintToleration, NodeDeclaredFeatures: what a node says about pods.
#include <algorithm>

#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {
namespace {

class node_name final : public plugin {
 public:
  std::string_view name() const noexcept override { return "NodeName"; }
  bool filters() const noexcept override { return true; }
  verdict filter(const pod_view& pod, const node_view& node, const plugin_state*, const cluster_view&) const override {
    if (pod.node.empty() || pod.node == node.name) return {};
    return verdict::never("node(s) didn't match the requested node name");
  }
};

const taint unschedulable_taint{"node.kubernetes.io/unschedulable", "", "NoSchedule"};

class node_unschedulable final : public plugin {
 public:
  std::string_view name() const noexcept override { return "NodeUnschedulable"; }
  bool filters() const noexcept override { return true; }
  verdict filter(const pod_view& pod, const node_view& node, const plugin_state*, const cluster_view&) const override {
    if (!node.unschedulable || tolerated(pod.is->tolerations, unschedulable_taint)) return {};
    return verdict::never("node(s) were unschedulable");
  }
  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    if (e.what == cluster_event::kind::everything || e.what == cluster_event::kind::pending_updated) return true;
    return e.what == cluster_event::kind::node && (e.node_changes & (node_added | node_taints)) &&
           (!e.node->unschedulable || tolerated(pod.is->tolerations, unschedulable_taint));
  }
};

class taint_toleration final : public plugin {
 public:
  std::string_view name() const noexcept override { return "TaintToleration"; }
  bool filters() const noexcept override { return true; }
  bool scores() const noexcept override { return true; }
  verdict filter(const pod_view& pod, const node_view& node, const plugin_state*, const cluster_view&) const override {
    if (node.taints.empty() || !untolerated(node.taints, pod.is->tolerations)) return {};
    return verdict::never("node(s) had untolerated taint(s)");
  }
  std::unique_ptr<plugin_state> prescore(const pod_view&, std::span<const node_view* const>,
                                         const cluster_view&) const override {
    return std::make_unique<no_state>();
  }
  // The fewer taints that ask to stay away, the better.
  std::int64_t score(const pod_view& pod, const node_view& node, const plugin_state&,
                     const cluster_view&) const override {
    std::int64_t count = 0;
    for (auto& t : node.taints)
      if (t.effect == "PreferNoSchedule" && !tolerated(pod.is->tolerations, t)) ++count;
    return count;
  }
  void normalise(std::span<std::int64_t> scores, std::span<const node_view* const>,
                 const plugin_state&) const override {
    normalise_to_max(scores, true);
  }
  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    if (e.what == cluster_event::kind::everything || e.what == cluster_event::kind::pending_updated) return true;
    return e.what == cluster_event::kind::node && (e.node_changes & (node_added | node_taints)) &&
           !untolerated(e.node->taints, pod.is->tolerations);
  }
};

class node_declared_features final : public plugin {
 public:
  std::string_view name() const noexcept override { return "NodeDeclaredFeatures"; }
  bool filters() const noexcept override { return true; }
  prefiltered prefilter(const pod_view& pod, const cluster_view&) const override {
    prefiltered out;
    out.skip = pod.is->features.empty();
    return out;
  }
  verdict filter(const pod_view& pod, const node_view& node, const plugin_state*, const cluster_view&) const override {
    if (std::ranges::includes(node.features, pod.is->features)) return {};
    return verdict::never("node(s) didn't match Pod's required features");
  }
  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    if (e.what == cluster_event::kind::everything || e.what == cluster_event::kind::pending_updated) return true;
    return e.what == cluster_event::kind::node && (e.node_changes & (node_added | node_features)) &&
           std::ranges::includes(e.node->features, pod.is->features);
  }
};

}  // namespace

plugin_result make_node_name(const json::value&) { return std::make_unique<node_name>(); }
plugin_result make_node_unschedulable(const json::value&) { return std::make_unique<node_unschedulable>(); }
plugin_result make_taint_toleration(const json::value&) { return std::make_unique<taint_toleration>(); }
plugin_result make_node_declared_features(const json::value&) { return std::make_unique<node_declared_features>(); }

}  // namespace kedge::control::scheduler
