// leaders.h: what only the leading server's controllers write is written in its term, and in no other's.
#pragma once

#include "cluster/cluster_world.h"

namespace kedge::sim {

class leader_checker {
 public:
  explicit leader_checker(cluster_world& c);
  unsigned terms() const noexcept { return terms_; }
  unsigned writes() const noexcept { return writes_; }  // of leaders

 private:
  void look();
  bool is_leaders_work(const datastore::entry& e) const;

  cluster_world& cluster_;
  datastore::revision seen_ = 0, term_ = 0;
  unsigned terms_ = 0, writes_ = 0;
  std::map<std::string, std::string> ranges_;  // node → its spec.podCIDR
};

}  // namespace kedge::sim
