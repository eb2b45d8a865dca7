// upkeep.h: the part that keeps things true on every server, while it serves: what all servers share (the record with
// its keys, the token, the port's certificate, which is to name whatever servers are reached by), and what
// kube-apiserver keeps (control/housekeeping.h).
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "control/housekeeping.h"
#include "server/fronts.h"
#include "server/key_changes.h"
#include "server/leading.h"
#include "server/listener.h"
#include "server/membership.h"
#include "server/part.h"
#include "supervisor/serving_keeper.h"

namespace kedge::server {

// What /metrics says of certificates; asked from any loop.
struct told_expirations {
  std::mutex mutex;
  std::string text;
};

class upkeep final : public part {
 public:
  upkeep(shared& s, gateway& g, identity& i, key_changes& k, fronts& f, membership& m, leading& d, listener& l)
      : shared_(s), gateway_(g), identity_(i), keys_(k), fronts_(f), membership_(m), leading_(d), listener_(l) {}

  std::string_view name() const noexcept override { return "upkeep"; }
  task<result<void>> start() override;
  task<void> stop() override;

 private:
  task<void> give_back_memory();
  task<void> keep_certificates();
  task<void> renew_certificates();
  task<void> use_identity();
  task<result<void>> take_authorities();
  task<void> sign_by_new_key();
  task<void> follow_addresses();

  shared& shared_;
  gateway& gateway_;
  identity& identity_;
  key_changes& keys_;
  fronts& fronts_;
  membership& membership_;
  leading& leading_;
  listener& listener_;
  std::unique_ptr<control::context> housekeeping_;
  std::unique_ptr<supervisor::serving_keeper> keeper_;
  std::shared_ptr<told_expirations> expirations_ = std::make_shared<told_expirations>();
  reactor::scope running_, signing_;
};

}  // namespace kedge::server
