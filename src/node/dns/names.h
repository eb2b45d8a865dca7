// names.h: the cluster's names: what a question about Services, pods and nodes is answered. Pure reads of the node's
// copies; the schema is kubernetes/dns' specification 1.1, and CoreDNS' kubernetes plugin where that is silent.
//
//   web.default.svc.cluster.local            a Service: its cluster IPs; headless: its endpoints; ExternalName: an
//   alias web-0.web.default.svc.cluster.local      an endpoint by its host name, or 10-42-0-7 by its address
//   _http._tcp.web.default.svc.cluster.local SRV
//   10-42-0-7.default.pod.cluster.local      a pod by its address, whether it is there or not ("insecure")
//   7.0.42.10.in-addr.arpa                   back; what nobody has is asked outside
//   edge-7                                   a node, as K3s's NodeHosts
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "node/dns/limits.h"
#include "node/dns/message.h"
#include "node/services/service_proxy.h"

namespace kedge::node::dns {

struct zone_settings {
  std::string domain = "cluster.local";
  std::vector<ip_address> servers;  // the cluster DNS' addresses: ns.dns.<domain>
};

struct named_node {
  std::string name, host_name;  // lower case; host_name: what the node calls itself, or empty
  std::vector<ip_address> addresses;
};

class names {
 public:
  // `view` outlives this, and may still be filling: until it is listed nothing is denied.
  names(zone_settings s, service_view& view);

  // Seconds that answers hold; the plugin kubernetes' `ttl`.
  void set_ttl(std::uint32_t seconds) { ttl_ = seconds; }
  // Nodes by their names, as K3s's NodeHosts has them. A host name is the node's word, so that it counts only without a
  // dot, or with the node's name before its first one; and nothing in the cluster's domain is a node.
  void set_nodes(const std::vector<named_node>& nodes);

  struct found {
    dns::answer answer;
    std::string alias;  // an ExternalName's target outside of the cluster: to be asked for, and its answer added
  };
  // nullopt: not ours; ask outside. `serial`: seconds of now, for the SOA.
  std::optional<found> find(const query& q, std::uint32_t serial, random_source& random) const;

 private:
  // `rest`: what stands before the zone's own name. `depth`: of aliases that led here.
  found find_in_zone(const query& q, std::string_view rest, std::uint32_t serial, int depth = 0) const;
  void find_service(const query& q, std::vector<std::string_view> labels, found& out, bool& exists, int depth) const;
  void follow_alias(const query& q, std::string target, found& out, int depth) const;
  bool find_reverse(const query& q, const ip_address& a, found& out) const;
  std::set<std::string> services_named_at(const ip_address& a) const;
  void changed(const std::string& service);
  std::vector<ip_address> addresses_named_by(const std::string& service) const;

  zone_settings settings_;
  service_view& view_;
  std::uint32_t ttl_ = cluster_ttl;
  std::map<std::string, std::vector<ip_address>> hosts_;
  std::map<ip_address, std::set<std::string>>
      services_at_;  // who has an address: Services, of their own or their endpoints'
  std::map<std::string, std::vector<ip_address>> addresses_;  // the other way, to take back
  std::map<std::string, std::set<std::string>> namespaces_;   // Services of a namespace
};

// The address that a name of in-addr.arpa or ip6.arpa stands for.
std::optional<ip_address> parse_reverse(std::string_view name);

}  // namespace kedge::node::dns
