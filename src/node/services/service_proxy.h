// service_proxy.h: keeps the rules of Services true on this node.
//
//   Services, EndpointSlices ─▶ which Services changed ─▶ service_rules (pure) ─▶ nft::table: diff ─▶ one transaction
//                                                                                    └─▶ UDP flows to endpoints that
//                                                                                    are gone are forgotten
//
// A stop leaves the rules standing; a start replaces them in one transaction, once it knows all Services.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "node/informer/kind_cache.h"
#include "node/kube_proxy_settings.h"
#include "node/services/rules.h"
#include "reactor/sync.h"

namespace kedge::node {

struct proxy_options {
  std::string node;
  std::vector<ip_address> node_ips;
  std::vector<ip_range> cluster;  // pods' ranges
  bool v4 = true, v6 = false;     // families of the cluster
  // Cluster IPs that the node itself serves (DNS): no rules for their Services, nor any that lead away from there.
  std::vector<ip_address> own_addresses = {};
  kube_proxy_settings settings = {};
};

// The node's copies of what Services are, shared with DNS.
struct service_view {
  service_view();
  kind_cache<service_record> services{decode_service};
  kind_cache<slice_record> slices{decode_slice};
  // Called with the key of each Service that changed, or whose slices did.
  std::vector<std::function<void(const std::string& service)>> watchers;
  bool listed() const noexcept { return services.listed() && slices.listed(); }
  // Slices of a Service.
  std::vector<const slice_record*> slices_of(const std::string& service) const;

 private:
  void tell(const std::string& service);
  std::map<std::string, std::string> service_of_;           // slice → service
  std::map<std::string, std::set<std::string>> slices_of_;  // service → slices
};

class service_proxy {
 public:
  // `view` outlives this.
  service_proxy(proxy_options o, service_view& view);
  ~service_proxy();
  void set_zone(const std::string& zone);  // of this node: topology
  void set_node_addresses(const std::vector<ip_address>& addresses);
  // Where servers and kubelets listen: no Service leads away from there.
  void set_kept(std::set<std::pair<ip_address, std::uint16_t>> kept);
  task<void> run();                  // never ends
  bool is_healthy() const noexcept;  // whether all rules stand

 private:
  struct family;
  task<result<void>> sync(family& f, bool anew);
  task<void> forget_udp(family& f, std::set<std::string> services);
  std::uint32_t number_of(const std::string& service, const std::string& port);

  proxy_options options_;
  service_view& view_;
  std::string zone_;
  std::vector<std::unique_ptr<family>> families_;
  std::map<std::string, std::map<std::string, std::uint32_t>> numbers_;
  std::uint32_t last_number_ = 0;
  std::set<std::string> dirty_;
  bool anew_ = true;
  bool limits_set_ = false;
  reactor::event changed_;
};

}  // namespace kedge::node
