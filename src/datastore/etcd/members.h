// members.h: who an etcd cluster consists of: its members, listed, added as learners, promoted,
// moved (etcdserverpb.Cluster), and removed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "datastore/etcd/connection.h"

namespace kedge::datastore::etcd {

struct cluster_member {
  std::uint64_t id = 0;
  std::string name;  // empty until it has started once
  std::vector<std::string> peer_urls, client_urls;
  bool learner = false;
};

result<std::vector<cluster_member>> decode_members(std::string_view message);

// Over a connection to a member that has the majority, which may end meanwhile. errc::timeout: it may have happened.
task<result<std::vector<cluster_member>>> list_members(const connection& c);
// As a learner, which follows and doesn't vote. Gives all members; errc::conflict where another one is just learning.
task<result<std::vector<cluster_member>>> add_learner(const connection& c, std::string peer_url);
// errc::conflict: it hasn't caught up yet.
task<result<void>> promote_member(const connection& c, std::uint64_t id);
// Also when it is gone already. etcd refuses what would cost the majority: that is errc::unavailable, with its words.
task<result<void>> remove_member(const connection& c, std::uint64_t id);
// Where the others reach it from now on.
task<result<void>> move_member(const connection& c, std::uint64_t id, std::string peer_url);

}  // namespace kedge::datastore::etcd
