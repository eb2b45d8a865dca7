// balancer.h: the agent's load balancer: TCP to whichever server is best, on 127.0.0.1:6444.
//
//   tunnels, probes, dials ──▶ first core: choice (the rules) ──▶ table (immutable) ──▶ every core's pointer
//   kubelet, clients ──▶ any core: accept ──▶ reads its table ──▶ dial in that order ──▶ bytes both ways
//
// A core reads its own pointer to an immutable table: no lock, no shared write but the connection counters. A new table
// reaches a core as a message; the core then closes its connections to servers whose `cut` went up, and sees to it that
// those to servers whose `move` went up, or that are gone from the list, end when they are quiet; if the server leaves,
// in bounded time.
//
// Black holes: dials are hedged (the next server is tried beside one that hasn't accepted after hedge_after; the first
// keeps trying and fails by its own deadline), and a server that takes a client's bytes and answers none counts as
// failed: when it ends the connection so, when first_answer_timeout passes, or when the client gives up after
// client_patience.
//
// The default server may be a DNS name: it is looked up at each dial.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "balancer/choice.h"
#include "reactor/stream.h"
#include "reactor/sync.h"

namespace kedge::balancer {

enum class health : unsigned char { unknown, ok, failed, leaving };  // leaving: it stops, and answers what it was asked

struct balancer_options {
  std::string name = "k3s-agent-load-balancer";  // in metrics and logs
  std::vector<reactor::endpoint> listen = {{"127.0.0.1", 6444}};
  std::string server_url;  // --server: "https://fixed.example:6443"; empty: no default server
  std::string state_file;  // empty: none
  policy rules;
  reactor::network* network = nullptr;  // null: this machine's
  // Asks one server whether it is well; run on the first core every probe_interval. Null: tunnels and dials alone tell.
  std::function<task<result<void>>(std::string address)> probe;
  duration dial_timeout = balancer::dial_timeout;
  duration hedge_after = balancer::hedge_after;
  duration first_answer_timeout = balancer::first_answer_timeout;
  duration client_patience = balancer::client_patience;
  duration health_interval = balancer::health_interval;
  duration probe_interval = balancer::probe_interval;
  duration probe_timeout = balancer::probe_timeout;
  duration quiet_time = balancer::quiet_time;
  duration move_max = balancer::move_max;
};

// What `kedge agent status` shows.
struct server_status {
  std::string address;
  balancer::state state = state::invalid;
  bool is_default = false, own = false, slow = false;
  health tunnel = health::unknown;
  time_point since{};
  std::size_t connections = 0;
  duration latency{0};  // zero: not measured
};
struct status {
  std::string name;
  std::vector<server_status> servers;  // in the order in which they are tried
};

class load_balancer {
 public:
  // The loops on which run() will be called; the first keeps the rules.
  load_balancer(std::vector<reactor::loop*> cores, balancer_options options);
  load_balancer(const load_balancer&) = delete;
  ~load_balancer();

  // First core, once, before all else: reads the state file. Fails on a bad URL; a broken file is logged and replaced.
  task<result<void>> load();
  // On each core: listens and serves until dropped; the first core checks health beside. Returns only on failure.
  task<result<void>> run();
  // Set when the calling core listens; then the addresses (with ports that the system chose).
  reactor::event& ready();
  std::vector<reactor::endpoint> listening() const;

  // First core. The real servers' addresses; an empty list is ignored.
  void set_servers(const std::vector<std::string>& addresses);
  // First core. What the tunnel to that server says: counts at once and at each health_interval.
  void report(std::string_view address, health h);

  // First core. A round trip to that server, measured elsewhere (the tunnel's ping).
  void measured(std::string_view address, duration round_trip);

  // Any core: a connection to the best server, counted and cut like the clients'; for requests of this process.
  task<result<std::unique_ptr<reactor::stream>>> dial();

  // First core.
  status snapshot() const;
  std::string metrics() const;  // Prometheus text: k3s_loadbalancer_*

  struct state_type;

 private:
  std::shared_ptr<state_type> state_;
};

}  // namespace kedge::balancer
