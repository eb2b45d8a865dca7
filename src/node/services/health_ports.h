// health_ports.h: spec.healthCheckNodePort. A balancer outside asks each node there whether it has endpoints of a
// Service of externalTrafficPolicy Local, and is answered as kube-proxy answers: 200 with their number, 503 where there
// is none.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "node/services/service_proxy.h"
#include "reactor/sync.h"

namespace kedge::node {

struct health_port_options {
  std::string node;
  std::string address = "0.0.0.0";  // where to listen: all of them
};

class health_ports {
 public:
  // `view` outlives this. `healthy`: whether the rules of Services stand.
  health_ports(health_port_options o, service_view& view, std::function<bool()> healthy);
  ~health_ports();

  task<void> run();  // never ends

 private:
  struct port;
  void keep(const std::string& service);
  // Addresses of endpoints of this node that are ready; those that end don't count.
  std::size_t count_here(const std::string& service) const;

  health_port_options options_;
  service_view& view_;
  std::function<bool()> healthy_;
  std::set<std::string> dirty_;
  reactor::event changed_;
  std::map<std::string, std::unique_ptr<port>> ports_;  // by Service
};

}  // namespace kedge::node
