// reach.h: when all is well, each server reaches each node through its tunnel, or through another server's.
#pragma once

#include "cluster/cluster_world.h"

namespace kedge::sim {

class reach_checker {
 public:
  explicit reach_checker(cluster_world& c) : cluster_(c) {}
  // Asks every server for every node's kubelet, each until it answers; complains of those that don't within `limit`.
  void begin(duration limit);
  bool ended() const noexcept { return asking_ == 0; }

 private:
  task<void> ask(int server, int agent, time_point until);

  cluster_world& cluster_;
  int asking_ = 0;
};

}  // namespace kedge::sim
