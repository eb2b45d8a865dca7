#include "node/services/endpoints.h"

#include <algorithm>
#include <functional>

namespace kedge::node {

namespace {

struct candidate {
  endpoint_target to;
  const slice_endpoint* is;
  bool ready, local;
};

bool has(const std::vector<std::string>& all, const std::string& one) {
  return std::ranges::find(all, one) != all.end();
}

// Nearer ones are taken only where every ready one says for whom it is, and one is for us: of this node first, else of
// this zone.
std::function<bool(const candidate&)> topology(const std::vector<candidate>& all, const std::string& node,
                                               const std::string& zone) {
  bool nodes_hinted = true, node_served = false, zones_hinted = true, zone_served = false, any = false;
  for (auto& c : all) {
    if (!c.ready) continue;
    any = true;
    nodes_hinted &= !c.is->node_hints.empty();
    node_served |= has(c.is->node_hints, node);
    zones_hinted &= !c.is->zone_hints.empty();
    zone_served |= has(c.is->zone_hints, zone);
  }
  if (any && nodes_hinted && node_served) return [node](const candidate& c) { return has(c.is->node_hints, node); };
  if (any && zones_hinted && zone_served) return [zone](const candidate& c) { return has(c.is->zone_hints, zone); };
  return [](const candidate&) { return true; };
}

std::vector<endpoint_target> select(const std::vector<candidate>& all,
                                    const std::function<bool(const candidate&)>& wanted) {
  std::vector<endpoint_target> out;
  for (auto& c : all)
    if (wanted(c)) out.push_back(c.to);
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  return out;
}

bool leaves(const candidate& c) { return !c.ready && c.is->serving && c.is->terminating; }

}  // namespace

reachable_endpoints choose_endpoints(const service_record& service, const service_port& port, bool v4,
                                     const std::vector<const slice_record*>& slices, const std::string& node,
                                     const std::string& zone) {
  std::vector<candidate> all;
  for (auto* s : slices) {
    if (s->v4 != v4) continue;
    for (auto& p : s->ports) {
      if (p.name != port.name || p.protocol != port.protocol) continue;
      // The first address alone, as kube-proxy: the others of an endpoint are the same pod's. Who is ready the slice
      // says: of a Service that publishes others too its controller has said so.
      for (auto& e : s->endpoints)
        all.push_back({{e.addresses.front(), p.port}, &e, e.ready, !node.empty() && e.node == node});
    }
  }
  bool uses_cluster = !service.internal_local || service.accessible_from_outside();
  bool uses_local = service.internal_local || (service.external_local && service.accessible_from_outside());
  reachable_endpoints out;
  if (uses_cluster) {
    auto near = topology(all, node, zone);
    out.cluster = select(all, [&](auto& c) { return c.ready && near(c); });
    if (out.cluster.empty()) out.cluster = select(all, leaves);
    out.any = !out.cluster.empty();
  }
  if (uses_local) {
    out.any |= std::ranges::any_of(all, [](auto& c) { return c.ready || leaves(c); });
    out.local = select(all, [](auto& c) { return c.local && c.ready; });
    if (out.local.empty()) out.local = select(all, [](auto& c) { return c.local && leaves(c); });
  }
  out.here = select(all, [&](auto& c) {
    return c.local && (std::ranges::binary_search(out.cluster, c.to) || std::ranges::binary_search(out.local, c.to));
  });
  return out;
}

}  // namespace kedge::node
