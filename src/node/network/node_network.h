// node_network.h: the node's network as a service: what makes its pods, the other nodes' and the Services' reach each
// other.
//
//   the Node (its range) ─▶ overlay ─▶ annotations for the others, subnet.env and conflist for the runtime
//   Nodes ─▶ plan_overlay ─▶ routes, neighbours
//   Services, EndpointSlices ─┬─▶ service_proxy ─▶ nftables
//                             ├─▶ health_ports: what balancers outside ask this node
//                             └─▶ dns: the cluster's DNS address is this node's own
//
// Nothing of it ends for good: what fails is told once, and tried again. A stop leaves everything standing, so that
// pods go on.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "json/value.h"
#include "node/config.h"
#include "node/dns/server.h"
#include "node/informer/informer.h"
#include "node/join/api_client.h"
#include "node/join/registration.h"
#include "node/network/overlay.h"
#include "node/nft/node_guard.h"
#include "node/services/health_ports.h"
#include "node/services/service_proxy.h"
#include "reactor/sync.h"

namespace kedge::node {

struct network_parts {
  const agent_config& config;  // its node_ips may change: then moved() is told
  const cluster_config& cluster;
  api_client& api;  // as the node
  informer& cluster_view;
};

class node_network {
 public:
  explicit node_network(network_parts parts);

  // The own Node, each time that it was read.
  void saw(const json::value& node);
  // Never ends; dropped by its owner.
  // This node has other addresses.
  void moved();
  task<void> run();

 private:
  task<result<void>> open();
  task<result<void>> tell_others();
  task<void> keep_overlay();
  task<void> answer_names();
  task<void> keep_resolvers();
  task<void> keep_custom_names();
  task<void> look_for_loops();
  task<void> keep_tables();
  task<void> watch_connections();
  task<void> tell_of_problems(std::string config_map, std::string problems);
  task<void> tell(json::object about, std::string reason, std::string message);
  void read_own_addresses();
  void nodes_changed();
  void keep_ports();
  task<void> guard_own();
  // Pods and the node itself, to whom names are answered.
  bool may_ask(const ip_address& who) const;

  network_parts parts_;
  overlay_kind kind_ = overlay_kind::none;
  std::vector<ip_range> cluster_ranges_;

  std::vector<ip_range> ranges_;  // of the own Node
  json::object told_;             // the annotations that the Node has
  overlay_end known4_, known6_;
  std::string written_;  // subnet.env and conflist, as they are on disk
  bool hostports_seen_ = false;

  std::optional<overlay> overlay_;
  reactor::event ranges_known_, changed_;
  kind_cache<node_record> nodes_;
  service_view services_;
  std::optional<service_proxy> proxy_;
  std::optional<health_ports> health_ports_;
  std::vector<ip_address> own_addresses_, dns_addresses_;
  nft::node_own own_;
  std::string guard_problem_;
  std::optional<dns::names> names_;
  std::optional<dns::forwarder> forwarder_;
  std::optional<dns::server> dns_;
  // What users configure of it: one ConfigMap each.
  kind_cache<json::value> custom_names_, node_hosts_;
  std::shared_ptr<dns::tls_trust> trust_ = std::make_shared<dns::tls_trust>();
  reactor::event custom_changed_, asked_changed_;
  reactor::scope tasks_;
};

}  // namespace kedge::node
