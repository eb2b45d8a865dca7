// server_links.h: an agent's ways to the servers.
//
//   /v1-k3s/apiservers, EndpointSlices of default/kubernetes ─▶ addresses ─┬─▶ balancer on 127.0.0.1:6444 ◀── the
//   agent's own requests
//                                                                          └─▶ a tunnel to each ── health, round trips
//                                                                          ──▶ balancer
//
// Requests go to whichever server the balancer thinks best; the fixed registration address is what is left when none of
// the known ones answers. A server's own node has no balancer (it asks its server), but a tunnel to every server all
// the same.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "balancer/balancer.h"
#include "base/ip.h"
#include "base/random.h"
#include "json/value.h"
#include "net/http/handler.h"
#include "node/config.h"
#include "node/join/registration.h"
#include "node/limits.h"
#include "reactor/scope.h"
#include "reactor/sync.h"
#include "tunnel/client.h"

namespace kedge::node {

// How long to wait before a watch that has ended is begun again.
class watch_pace {
 public:
  // `stood`: for how long it did; null: it couldn't be begun.
  duration next(std::optional<duration> stood, random_source& random);

 private:
  duration again_ = watch_again, retry_ = watch_retry_first;
};

class server_links {
 public:
  // `config`: with name and addresses resolved; outlives this. `network` null: this machine's.
  // `direct`: the way to what is on this node or of the cluster, where `network` leads to servers by a proxy.
  server_links(const agent_config& config, reactor::network* network, reactor::network* direct);
  ~server_links();

  // The balancer listens; then api_url() is what requests go to. Fails when its port can't be had.
  task<result<void>> start();
  // https://127.0.0.1:6444, or the server's own address without a balancer.
  const std::string& api_url() const noexcept { return api_url_; }
  // With credentials: tunnels are kept and servers learnt from now on. `controller` reads the endpoints.
  result<void> join(const registration& joined, const client_identity& controller);
  // Renewed credentials: tunnels and watches are made anew with them, and none loses what it has to do.
  result<void> use(const registration& joined, const client_identity& controller);

  // This machine has other addresses: what stands leads nowhere.
  void moved();

  json::value status() const;   // what `kedge agent status -o json` prints
  std::string metrics() const;  // Prometheus text
  std::vector<std::string> servers() const { return servers_; }

 private:
  task<void> learn();
  task<result<std::vector<std::string>>> ask_for_servers();
  task<void> follow_pods();
  struct followed;
  task<result<void>> follow(followed& what, std::shared_ptr<net::tls_client_context> who);
  void use(std::vector<std::string> addresses);
  bool allowed(std::string_view protocol, std::string_view address) const;
  task<void> tell_round_trips();

  const agent_config& config_;
  reactor::network *network_, *direct_;
  std::string api_url_;
  std::string fixed_address_;  // host:port of --server
  std::vector<std::string> servers_;
  std::string egress_mode_;
  std::vector<ip_range> cluster_ranges_;
  std::set<std::string> pod_targets_;  // of all this node's pods: see targets_of_pod()
  std::shared_ptr<net::tls_client_context> as_node_, as_controller_;
  std::unique_ptr<net::http::client> http_;
  std::unique_ptr<balancer::load_balancer> balancer_;
  std::optional<tunnel::client> tunnels_;
  reactor::event renewed_;  // pulsed
  reactor::scope tasks_;    // last: ends first
};

// The addresses that an EndpointSlice's ready endpoints have, "host:port".
std::vector<std::string> addresses_of_slice(const json::value& slice);
// Where servers may reach a pod in egress mode "pod": its addresses, at any port ("10.42.0.7"), or with the node's
// network the ports of its containers (":8080").
std::vector<std::string> targets_of_pod(const json::value& pod);
// A certificate's chain as it is shown to servers: they know their roots, and would keep our copies for as long as the
// tunnel stands. Intermediates stay: once CAs were rotated, servers may know the root alone.
result<std::string> without_roots(std::string_view chain_pem);

// Serves status (/status) and metrics (/metrics) to this machine's root, over a socket file.
class status_handler final : public net::http::handler {
 public:
  explicit status_handler(const server_links& links) : links_(links) {}
  task<void> serve(net::http::exchange& e) override;

 private:
  const server_links& links_;
};

}  // namespace kedge::node
