// etcd_members.h: the part that keeps the members of a managed etcd true. The server whose member leads etcd promotes
// learners that have caught up, removes one that doesn't get on, and tells by the Nodes' condition EtcdIsVoter; each
// keeps its own address in etcd's list and its member's name at its own Node, whose finalizer lets the member go first
// (control/nodes/etcd_member.cc).
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/conditions.h"
#include "json/value.h"
#include "server/etcd/learner_watch.h"
#include "server/etcd/managed_etcd.h"
#include "server/identity.h"
#include "server/part.h"

namespace kedge::server {

class etcd_members final : public part {
 public:
  etcd_members(shared& s, identity& i, managed_etcd& own) : shared_(s), identity_(i), own_(own) {}

  std::string_view name() const noexcept override { return "etcd members"; }
  task<result<void>> start() override;
  task<void> stop() override;

 private:
  task<void> look_after();
  task<void> keep_address(const datastore::etcd::connection& c, const datastore::etcd::cluster_member& own);
  task<void> promote(const datastore::etcd::connection& c, const datastore::etcd::cluster_member& learner);
  task<void> tell_nodes(const std::vector<datastore::etcd::cluster_member>& members);
  task<bool> answers(datastore::etcd::cluster_member m) const;
  std::optional<json::value> node_of_member(const std::string& name, const std::string& member);
  task<void> tell_node(std::string name, control::condition c);
  task<void> let_deleted_go();
  task<void> let_go(store::object_ref node);
  task<void> follow_nodes();
  task<void> mark_own(store::object_ref node);

  shared& shared_;
  identity& identity_;
  managed_etcd& own_;
  learner_watch learner_;
  time_point next_told_{};
  std::set<std::string> told_;  // Nodes that were told to have a member
  std::string not_moved_;       // why the last try to keep the address failed
  reactor::scope running_;
};

}  // namespace kedge::server
