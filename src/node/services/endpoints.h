// endpoints.h: which of a Service port's endpoints serve this node's packets. Pure; the rules are kube-proxy's
// (topology.go).
#pragma once

#include <string>
#include <vector>

#include "node/services/records.h"

namespace kedge::node {

struct endpoint_target {
  ip_address address;
  std::uint16_t port = 0;
  friend auto operator<=>(const endpoint_target&, const endpoint_target&) noexcept = default;
  friend bool operator==(const endpoint_target&, const endpoint_target&) noexcept = default;
};

struct reachable_endpoints {
  std::vector<endpoint_target> cluster;  // for policy Cluster; sorted, each once
  std::vector<endpoint_target> local;    // for policy Local, on this node
  std::vector<endpoint_target> here;     // all of either that are on this node
  bool any = false;                      // whether there is one anywhere that could serve
  friend bool operator==(const reachable_endpoints&, const reachable_endpoints&) noexcept = default;
};

// `slices`: those of the Service.
reachable_endpoints choose_endpoints(const service_record& service, const service_port& port, bool v4,
                                     const std::vector<const slice_record*>& slices, const std::string& node,
                                     const std::string& zone);

}  // namespace kedge::node
