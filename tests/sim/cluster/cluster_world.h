// cluster_world.h: a whole cluster in the simulated world: servers and agents as they are, over a database that they
// share.
//
//   users ───────────────▶ servers: listener, handler, supervisor, tunnels, controllers ─▶ store ─▶ link ─▶ database
//   agents ─▶ balancer ─▶     ▲
//     ▲  └── tunnels ─────────┘
//   runtime of the test's own, on a socket of the agent's host
//
// TLS, certificates, HTTP and files are real. Clock, randomness, network and database are the world's; what a machine
// is and has, and the container runtime, are the test's. A server or agent that ends is started again, as systemd does
// it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "datastore/memory/memory_log.h"
#include "json/value.h"
#include "net/http/client.h"
#include "node/config.h"
#include "server/settings.h"
#include "support/temporary_folder.h"
#include "world.h"

namespace kedge::sim {

struct cluster_options {
  int servers = 3, agents = 20;
  bool own_nodes = false;  // whether servers are nodes themselves
};

// A host with a disk, which stays when it crashes.
struct machine {
  host* at = nullptr;
  std::string folder;
  bool disk_away = false;
  unsigned starts = 0;
  std::string said;  // why it ended the last time
};
struct server_machine : machine {
  datastore::memory_link link;
  bool ready = false;
};
struct agent_machine : machine {
  bool ready = false;
};

// What an answer was; status 0: none came, and what was asked for may be done all the same.
struct reply {
  int status = 0;
  json::value body;
};

// What was given to the database by one server, before it was known to land.
struct attempt {
  int server;
  time_point when;
  datastore::operation what;
};

class cluster_world {
 public:
  explicit cluster_world(std::uint64_t seed, cluster_options o = {});
  ~cluster_world();

  datastore::memory_database db;
  std::vector<std::unique_ptr<server_machine>> servers;
  std::vector<std::unique_ptr<agent_machine>> agents;
  world w;

  // Until all servers are ready and all nodes Ready; else why not.
  std::string wait_until_all_is_well(duration limit);
  // What is amiss now: a server that isn't ready, a node that isn't. Empty: nothing.
  std::string amiss() const;
  // Whether an agent could be served by a server, as far as machines, clocks and network go.
  bool could_serve(const server_machine& s, const agent_machine& a) const;
  bool serves(const server_machine& s) const;

  // Users: a host that no fault meets but those of servers. `f` runs on it until the world ends.
  host& users() noexcept { return *users_; }
  void run_as_user(std::function<task<void>()> f);
  // On the users' host: the administrator's request to a server, with at most `patience`.
  task<reply> ask(int server, std::string method, std::string path, json::value body = {},
                  duration patience = std::chrono::seconds(10));
  net::http::target target_of(int server) const;
  net::http::client& http() noexcept { return *http_; }

  // The newest value under a key, from the database itself; null without one.
  json::value get(const std::string& key) const;
  // Rows above a revision, oldest first, with who tried to write them (null: nobody's attempt was like it).
  void each_new_row(datastore::revision& seen, const std::function<void(const datastore::entry&, const attempt*)>& f);
  std::string node_name(int agent) const { return agents[static_cast<std::size_t>(agent)]->at->name(); }

  // Called every 100 ms of simulated time.
  void each_tick(std::function<void()> f) { ticks_.push_back(std::move(f)); }
  // What checkers found; the first few of each checker are kept.
  void complain(std::string_view checker, std::string what);
  const std::vector<std::string>& complaints() const noexcept { return complaints_; }

  // Faults beyond the world's. A disk that is away fails each access.
  void take_disk(machine& m);
  void give_disk(machine& m);
  // A fault that meets everybody runs: resets, refusals, a database that fails.
  bool general_fault = false;

 private:
  server::settings settings_of(server_machine& m, int number);
  node::agent_config agent_config_of(const machine& m, const std::string& server_url) const;
  task<void> serve(server_machine& m, int number);
  task<void> run_agent(agent_machine& m, std::string server_url);
  task<void> use();
  void tick();
  void make_client();

  cluster_options options_;
  temporary_folder folder_;
  host* users_ = nullptr;
  std::unique_ptr<net::http::client> http_;
  std::shared_ptr<net::tls_client_context> admin_;
  std::multimap<std::string, attempt, std::less<>> attempts_;  // by key
  std::vector<std::function<void()>> ticks_;
  std::vector<std::string> complaints_;
  std::map<std::string, std::size_t, std::less<>> complained_;  // how often, by checker
};

}  // namespace kedge::sim
