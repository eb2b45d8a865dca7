// choice.h: which server an agent uses: K3s's state machine (2024-12), as rules without I/O, and what Kedge adds.
//
//   FAILED/UNCHECKED ─dial or health─▶ RECOVERING ─health─▶ PREFERRED (ACTIVE when it has connections)
//   PREFERRED ─dial─▶ ACTIVE,  ─60 s without a dial─▶ HEALTHY ─dial─▶ ACTIVE
//   UNCHECKED/RECOVERING ─dial fails─▶ FAILED;   HEALTHY/PREFERRED/ACTIVE ─dial or health fails─▶ FAILED, connections
//   cut UNCHECKED/RECOVERING/HEALTHY/PREFERRED/ACTIVE ─says that it stops, or refuses a dial─▶ FAILED, leaving
//   (Kedge's)
//
// One server is used, not all in turn. It is ACTIVE: becoming so ends the connections to FAILED, STANDBY, RECOVERING
// and HEALTHY ones; of two, the one with more connections stays. The default server (the fixed registration address) is
// STANDBY unless it is also a real one: tried when the others fail, before those known to have failed.
//
// What Kedge adds (policy::extended):
// - An agent has a server of its own, by rendezvous hashing of its name: so servers get equal shares of the agents, and
// a new
//   one its share. It comes first when nothing is known yet, and takes over from another ACTIVE one once it has been
//   well for settle_time (longer after failures, so that a flapping one moves nobody).
// - While a dial of the ACTIVE server hangs, new connections go to others without either losing theirs: a lost packet
// is no
//   reason to move everybody, and a black hole is known as such when the dial ends.
// - Connections to a server that lives, but isn't the one to use, or is no longer one of the servers, go when they are
//   quiet (K3s cuts them): a clean stop and a change of mind lose no request.
// - A server that says that it stops is FAILED and leaving: nobody goes there while another is there, and its
// connections go
//   when they are quiet, at the latest after move_max, also when another becomes ACTIVE. So is one that refuses a dial,
//   or hangs up: whoever does so lives (the system resets a dead one's connections by itself), and answers what it has
//   begun.
// - A dial that fails cuts the connections of an UNCHECKED or RECOVERING server, too: where all others are gone, they
//   are all that there are.
// - A slow server (see limits.h) comes behind the good ones that aren't, and gives way to them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/limits.h"
#include "base/time.h"

namespace kedge::balancer {

// The numbers are those of k3s_loadbalancer_server_health.
enum class state : unsigned char { invalid, failed, standby, unchecked, recovering, healthy, preferred, active };
std::string_view name_of(state s) noexcept;  // "ACTIVE"
// refusal, of a failure: the server's end said no to the dial. farewell: it said that it stops.
enum class reason : unsigned char { dial, health_check, refusal, farewell };

struct server {
  std::string address;  // "host:port"
  bool is_default = false;
  balancer::state state = state::unchecked;
  time_point since{};           // of the state
  std::size_t connections = 0;  // set by the caller before each rule
  // Numbers of the changes, of all servers, by which its connections are to be closed at once (it is dead), or without
  // losing a request: a connection that is older goes. 0 for a server that has come, or come again, to the list.
  std::uint64_t cut = 0, move = 0;
  bool leaving = false;  // FAILED, and its connections move rather than being cut
  // Kedge's
  duration latency{0};  // smoothed; zero: not measured
  unsigned slow_in_a_row = 0;
  bool slow = false;
  bool own = false;       // by hashing
  bool doubtful = false;  // a dial of it hangs
  unsigned failures = 0;  // of late
  time_point well_since{};
};

struct policy {
  bool extended = true;
  std::string node_name;  // what the agent's own server is chosen by
};

class choice {
 public:
  explicit choice(policy p = {}) : policy_(std::move(p)) {}

  // In the order in which a new connection tries them.
  const std::vector<server>& servers() const noexcept { return servers_; }
  server* find(std::string_view address) noexcept;
  // The real ones: what the state file keeps. The default is left out while it is STANDBY.
  std::vector<std::string> addresses() const;

  // The fixed registration address; empty: none.
  void set_default(std::string_view address, time_point now);
  // The real servers. false when they are the same already.
  bool set_addresses(const std::vector<std::string>& addresses, time_point now);
  void success(std::string_view address, reason r, time_point now);
  void failure(std::string_view address, reason r, time_point now);
  // How long a dial or probe of it took.
  void measured(std::string_view address, duration took);
  // A dial of it hangs, or has ended after all.
  void doubt(std::string_view address, bool hangs, time_point now);
  // Looks whether the agent's own server may take over by now.
  void tick(time_point now);

 private:
  void enter(server& s, state to, time_point now);
  void become_active(server& s, time_point now);
  bool stays(const server& old, const server& fresh, time_point now) const;
  bool settled(const server& s, time_point now) const;
  void choose_own();
  void sort(time_point now);

  policy policy_;
  std::vector<server> servers_;
  std::uint64_t changes_ = 0;
};

}  // namespace kedge::balancer
