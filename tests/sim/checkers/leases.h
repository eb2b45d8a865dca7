// leases.h: a node that could reach a server all the time has a Lease that is renewed.
#pragma once

#include <map>
#include <string>

#include "cluster/cluster_world.h"

namespace kedge::sim {

class lease_checker {
 public:
  explicit lease_checker(cluster_world& c);
  // The longest time that a well agent's lease has waited to be renewed.
  duration longest() const noexcept { return longest_; }

 private:
  void look();

  cluster_world& cluster_;
  datastore::revision seen_ = 0;
  std::map<std::pair<const server_machine*, const agent_machine*>, time_point>
      together_;  // since when they could speak
  std::map<const agent_machine*, unsigned> starts_;
  std::map<std::string, time_point> renewed_;
  std::map<std::string, bool> told_;
  duration longest_{0};
};

}  // namespace kedge::sim
