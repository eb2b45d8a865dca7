// database_space.h: the part that tells what the database takes on disk (metrics, `kedge datastore status`), and
// compacts it when a person can't wait for that (`kedge datastore compact`).
#pragma once

#include <string>

#include "reactor/scope.h"
#include "server/identity.h"
#include "server/part.h"

namespace kedge::server {

class database_space final : public part {
 public:
  database_space(shared& s, identity& i) : shared_(s), identity_(i) {}

  std::string_view name() const noexcept override { return "database space"; }
  task<result<void>> start() override;
  task<void> stop() override;

 private:
  json::value status() const;
  result<void> compact();
  task<void> measure();

  shared& shared_;
  identity& identity_;
  bool compacting_ = false;
  std::string failed_;  // why the last compaction did
  reactor::scope running_;
};

}  // namespace kedge::server
