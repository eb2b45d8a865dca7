// etcd_members.h: the part that keeps the members of a managed etcd true: learners that have caught up are promoted by
// etcd's leader, and nodes tell which member is theirs.
#pragma once

#include <memory>
#include <string>

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
  task<void> promote_learners();
  task<void> follow_nodes();
  task<void> mark_own(store::object_ref node);

  shared& shared_;
  identity& identity_;
  managed_etcd& own_;
  reactor::scope running_;
};

}  // namespace kedge::server
