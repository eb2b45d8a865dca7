// upkeep.h: the part that keeps things true on every server, while it serves: what all servers share (the record with
// its keys, the token, the port's certificate, which is to name whatever servers are reached by), and what
// kube-apiserver keeps (control/housekeeping.h).
#pragma once

#include <memory>

#include "control/housekeeping.h"
#include "server/fronts.h"
#include "server/key_changes.h"
#include "server/listener.h"
#include "server/membership.h"
#include "server/part.h"
#include "supervisor/serving_keeper.h"

namespace kedge::server {

class upkeep final : public part {
 public:
  upkeep(shared& s, gateway& g, identity& i, key_changes& k, fronts& f, membership& m, listener& l)
      : shared_(s), gateway_(g), identity_(i), keys_(k), fronts_(f), membership_(m), listener_(l) {}

  std::string_view name() const noexcept override { return "upkeep"; }
  task<result<void>> start() override;
  task<void> stop() override;

 private:
  task<void> give_back_memory();

  shared& shared_;
  gateway& gateway_;
  identity& identity_;
  key_changes& keys_;
  fronts& fronts_;
  membership& membership_;
  listener& listener_;
  std::unique_ptr<control::context> housekeeping_;
  std::unique_ptr<supervisor::serving_keeper> keeper_;
  reactor::scope running_;
};

}  // namespace kedge::server
