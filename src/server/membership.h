// membership.h: the part that makes this server one of the servers: a new cluster's objects, its row, the endpoints of
// `kubernetes`, and in the end that it is ready.
//
//   objects ─▶ join (refused when it can't be one of those that live) ─▶ record, roles ─▶ ready … leave: not ready, out
//   of the lists
#pragma once

#include <memory>

#include "api/bootstrap.h"
#include "control/server_endpoints.h"
#include "server/fronts.h"
#include "server/part.h"

namespace kedge::server {

class membership final : public part {
 public:
  membership(shared& s, identity& i, fronts& f) : shared_(s), identity_(i), fronts_(f) {}

  std::string_view name() const noexcept override { return "membership"; }
  task<result<void>> start() override;
  task<void> leave() override;
  task<void> stop() override;

  // Renews the row and repairs the lists, until this part stops. `leads`: whether that is this server's work first.
  void keep(std::function<bool()> leads);
  // Null until it has been made.
  control::server_endpoints* servers() noexcept { return servers_.get(); }

  // Those that every cluster has.
  api::bootstrap_options objects() const;

 private:
  control::server_options row() const;

  shared& shared_;
  identity& identity_;
  fronts& fronts_;
  std::unique_ptr<control::server_endpoints> servers_;
  reactor::scope keeping_;
};

}  // namespace kedge::server
