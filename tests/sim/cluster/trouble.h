// trouble.h: what befalls a cluster: faults of networks, machines, clocks, disks and the database, one after another
// and at once, chosen by the world's seed. Each ends by itself.
#pragma once

#include "cluster/cluster_world.h"

namespace kedge::sim {

class trouble {
 public:
  explicit trouble(cluster_world& c) : cluster_(c) {}

  // Something befalls somebody every few seconds from now on, until `until`; nothing lasts beyond that.
  void begin(time_point until);
  unsigned count() const noexcept { return count_; }

 private:
  void next();
  duration lasting(duration most);
  void later(duration d, std::function<void()> f) { cluster_.w.after(d, std::move(f)); }
  machine& somebody();
  server_machine& some_server();

  void cut_two();
  void isolate();
  void crash();
  void pause();
  void jump();
  void cut_database();
  void lose_answers();
  void break_network();
  void take_disk();
  void lose_disk();

  cluster_world& cluster_;
  time_point until_{};
  unsigned count_ = 0;
};

}  // namespace kedge::sim
