// control_world.h: servers that run controllers over one database: the frame, the real controllers and the API without
// HTTP, in the simulated world.
//
//   act() ─▶ the outside's client, on the first server that lives: what users and kubelets do
//   every server leads (as two do for a moment), or those that the scenario says
//   crash_between_writes: a server loses its power between any two commits, and starts again
//
// Admission is the real chain's, so that what controllers write is judged as it is in a server.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/local_objects.h"
#include "control/manager.h"
#include "datastore/memory/memory_log.h"
#include "json/value.h"
#include "store/store.h"
#include "world.h"

namespace kedge::sim {

struct control_options {
  int servers = 1;
  std::vector<std::string> controllers = {};  // names; empty: all
  control::settings settings = {.cluster_cidrs = {"10.42.0.0/16"}, .root_ca_pem = "ca"};
  api::asker ask = nullptr;  // what controllers ask of other API servers
  bool schedules = false;    // who leads runs the scheduler too
};

class control_world {
 public:
  explicit control_world(std::uint64_t seed, control_options o = {});
  ~control_world();

  world w;
  datastore::memory_database db;

  // Does something as a user would, on the first server that runs: `what` gives "" when it is done, else why not, and
  // is tried again, also when the server crashes meanwhile. Gives the last reason when it isn't done in two minutes of
  // simulated time.
  std::string act(std::function<task<std::string>(api::objects&)> what);
  // Begins something on that server, which must run; it goes with a crash.
  void begin_on(int server, std::function<task<void>(api::objects&)> what);
  bool runs(int server) const { return servers_[static_cast<std::size_t>(server)]->client != nullptr; }
  // Each until it is done; that it was done already is as good.
  void create(const api::resource_id& r, json::value object);
  void set_status(const api::resource_id& r, const std::string& ns, const std::string& name,
                  std::function<void(json::value&)> change);
  void change(const api::resource_id& r, const std::string& ns, const std::string& name,
              std::function<void(json::value&)> change);
  void remove(const api::resource_id& r, const std::string& ns, const std::string& name,
              api::delete_options options = {});

  // What every server's bootstrap gives a controller's account, as far as admission asks for it: a rule of a role, as
  // YAML.
  void grant(std::string_view account, std::string_view rule);

  // The newest committed values, from the database itself: by key, and all under a prefix.
  json::value get(const std::string& key) const;
  std::map<std::string, json::value> all(std::string_view prefix) const;
  bool exists(const std::string& key) const;
  std::size_t count(std::string_view prefix) const;
  // "reason: message" of the Events about an object of this name.
  std::vector<std::string> events(const std::string& name) const;

  bool until(const std::function<bool()>& done, duration limit = std::chrono::minutes(5)) {
    return w.run_until(done, limit);
  }
  void run_for(duration d) { w.run_for(d); }
  host& server(int i) { return *hosts_[static_cast<std::size_t>(i)]; }
  // From now on every server crashes sometimes after one of its commits, and starts again.
  void crash_between_writes(double probability) { crash_probability_ = probability; }
  // Whether a server's controllers run; a change stops or starts them.
  void lead(int server, bool leads);

 private:
  struct server_state {
    bool leads = true;
    int boots = 0;
    api::objects* client = nullptr;     // while it runs
    reactor::event* changed = nullptr;  // as well
  };
  task<void> serve(host& h, server_state& mine);
  void change_part(const api::resource_id& r, const std::string& ns, const std::string& name,
                   std::function<void(json::value&)> change, std::string part);
  void maybe_crash();
  void catch_up() const;

  control_options options_;
  const std::shared_ptr<const control::scheduler::configuration> scheduling_;
  std::vector<host*> hosts_;
  std::vector<std::unique_ptr<server_state>> servers_;
  double crash_probability_ = 0;
  mutable datastore::revision seen_ = 0;
  mutable std::map<std::string, const datastore::entry*, std::less<>> newest_;  // nothing is compacted here
};

// Values for tests, from YAML: yaml("{kind: Pod, …}").
json::value yaml(std::string_view text);

}  // namespace kedge::sim
