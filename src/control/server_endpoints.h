// server_endpoints.h: which servers live, and the endpoints of the `kubernetes` Service that say so.
//
//   every server: row /registry/masterleases/<address> renewed every 2 s ─▶ every server sees the others' renewals
//     ─▶ not renewed for 7 s, by the observer's own clock: dead ─▶ Endpoints and EndpointSlices default/kubernetes
//
// The rows are kube-apiserver's lease reconciler's, so that K3s servers on the same datastore count too; those renew
// every 10 s, and are dead after 15 s. All servers repair the lists; the leader at once, the others when it hasn't
// within seconds.
//
// While this server itself couldn't renew (the database was away, the process was stopped) it has no news of the
// others: each then gets its full time again, and nobody is taken out because the database was restarted.
//
// Each row also tells the settings on which all servers must agree (a server that starts with others than a living one
// has stops), and when its writer wrote it, by the writer's clock: who differs is told of (clock_watch.h), and nothing
// is decided by it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "api/objects.h"
#include "control/clock_watch.h"
#include "reactor/sync.h"

namespace kedge::control {

struct server_options {
  std::string address;  // --advertise-address
  std::uint16_t port = 6443;
  std::string node_name;  // empty: this server has no node of its own
  std::string identity;   // of this process, like an election's
  json::value settings;   // object: flag → value, on which all servers must agree
  // Of its encryption keys, and which token it goes by; told to the others with each renewal.
  std::function<std::string()> encryption_hash = {};
  std::function<std::string()> token_id = {};
  // Why this server can serve nobody for now; nullopt: it can. While it can't it is in no list, as one that left.
  std::function<std::optional<std::string>()> kept_off = {};
  bool alone = false;  // no other server can share the datastore: no rows, only the lists
  duration renew_period = std::chrono::seconds(2);
  duration alive_time = std::chrono::seconds(7);
  duration k3s_alive_time = std::chrono::seconds(15);  // kube-apiserver's DefaultEndpointReconcilerTTL
};

// Another server that lives, as its row says.
struct peer {
  std::string address;   // 10.0.0.1:6443
  std::string identity;  // of its process; empty: kube-apiserver's row, a server of K3s
  std::string encryption_hash;
  std::string token_id;
};

class server_endpoints {
 public:
  server_endpoints(api::objects& objects, server_options options);

  // Before this server answers as one of the cluster: errc::invalid, as K3s says it, when it can't be one of the
  // servers that live. Then this server is in the lists.
  task<result<void>> join();
  // Until dropped: renews, and repairs the lists. `leads`: whether this server is the one to do so at once.
  task<void> keep(std::function<bool()> leads);
  // This server is reached at another address from now on.
  task<result<void>> move(std::string address);
  // What this server says of itself has changed: tells the others at once.
  void tell() noexcept { tell_.pulse(); }
  // The other servers that live.
  std::vector<peer> living() const;
  // What they say of their encryption keys, by their addresses.
  std::vector<std::pair<std::string, std::string>> encryption_hashes() const;
  // How their clocks differ from this one's. Any thread.
  const clock_watch& clocks() const noexcept { return clocks_; }
  // Whether a server lives that is kube-apiserver: one that says nothing of itself in its row.
  bool k3s_lives() const;
  // Takes this server out of the lists, unless it is the last one. Bounded by `deadline`.
  task<void> leave(time_point deadline);

 private:
  struct member {
    std::string address, node_name, identity, encryption_hash, token_id;
    std::uint16_t port = 0;
    json::value settings;
    store::revision at = 0;
    time_point seen{};
  };
  void look(const store::event& e);
  duration alive_time(const member& m) const {
    return m.identity.empty() ? options_.k3s_alive_time : options_.alive_time;
  }
  std::map<std::string, member> read() const;
  result<void> check(const member& m) const;
  task<result<void>> renew();
  task<void> renew_forever();
  task<result<void>> publish(bool with_me);
  task<result<void>> withdraw();
  task<void> stay_off(std::string why);
  std::string value() const;
  void name_row();
  static std::string name_of(const member& m);

  api::objects& objects_;
  server_options options_;
  std::string key_;
  std::map<std::string, member> members_;  // by key, this server too
  std::uint64_t generation_ = 0;
  unsigned taken_over_ = 0;  // how often another process wrote this server's row
  bool leaving_ = false, off_ = false;
  time_point renewed_{}, grace_until_{};
  reactor::event changed_, tell_;
  clock_watch clocks_;
};

}  // namespace kedge::control
