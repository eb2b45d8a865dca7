// node_ports.cc: NodePorts: no two pods of a node have the same host port.
#include <algorithm>

#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {
namespace {

bool clash(const std::vector<host_port>& wanted, const std::vector<host_port>& used) {
  return std::any_of(wanted.begin(), wanted.end(), [&](auto& w) {
    return std::any_of(used.begin(), used.end(), [&](auto& u) { return w.clashes(u); });
  });
}

class node_ports final : public plugin {
 public:
  std::string_view name() const noexcept override { return "NodePorts"; }
  bool filters() const noexcept override { return true; }
  prefiltered prefilter(const pod_view& pod, const cluster_view&) const override {
    return {.skip = pod.is->ports.empty()};
  }
  verdict filter(const pod_view& pod, const node_view& node, const plugin_state*, const cluster_view&) const override {
    if (node.ports.empty() || !clash(pod.is->ports, node.ports)) return {};
    return verdict::no("node(s) didn't have free ports for the requested pod ports");
  }
  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    switch (e.what) {
      case cluster_event::kind::everything:
      case cluster_event::kind::pending_updated: return true;
      case cluster_event::kind::node: return e.node_changes & node_added;
      case cluster_event::kind::pod_removed: return clash(pod.is->ports, e.pod->is->ports);
      default: return false;
    }
  }
};

}  // namespace

plugin_result make_node_ports(const json::value&) { return std::make_unique<node_ports>(); }

}  // namespace kedge::control::scheduler
