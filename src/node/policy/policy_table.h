// policy_table.h: the policies' table of one family in the kernel: what must change in it for what changed in the
// cluster. Sets are updated and chains stay, but for those of policies that are others now.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "node/nft/table.h"
#include "node/policy/rules.h"
#include "reactor/task.h"

namespace kedge::node {

class policy_table {
 public:
  explicit policy_table(bool v4);

  // What has to be committed so that the table has all that `all` says; `c` is what `all` took since the last batch.
  // Fails nowhere; if the batch does, begin_anew(). `all` doesn't change meanwhile. With no policy the table is
  // removed.
  task<nft::batch> update(const policy_selection& all, const policy_selection::changes& c, time_point now);
  // The next update makes all anew, in one transaction as well.
  void begin_anew() { known_ = false; }

  bool has_stale() const noexcept { return known_ && table_.has_stale(); }
  // Whether the kernel should have it.
  bool is_there() const noexcept { return known_; }
  std::uint8_t family() const noexcept { return table_.family(); }
  bool is_v4() const noexcept { return v4_; }

 private:
  task<void> put_peers(nft::batch& b, const policy_selection& all, const policy_selection::changes& c);
  task<void> put_everything(nft::batch& b, const policy_selection& all);
  void put_policy(nft::batch& b, const policy_selection& all, const policy_selection::policy& p);
  void put_pod(nft::batch& b, const policy_selection& all, const std::string& key);
  task<void> put_addresses(nft::batch& b, policy_selection::number n, std::vector<std::pair<ip_address, bool>> all);

  bool v4_;
  bool known_ = false;
  nft::table table_;
  std::set<policy_selection::number> peers_;  // whose sets are there
};

}  // namespace kedge::node
