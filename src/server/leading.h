// leading.h: the part that does what is to be done once in a cluster: controllers and scheduler, on the background
// loop. Of several servers it runs on the one that leads.
#pragma once

#include <memory>

#include "control/leader_election.h"
#include "server/control_front.h"
#include "server/etcd/managed_etcd.h"
#include "server/fronts.h"
#include "server/membership.h"
#include "server/part.h"

namespace kedge::server {

class leading final : public part {
 public:
  leading(shared& s, identity& i, fronts& f, membership& m, managed_etcd& e)
      : shared_(s), identity_(i), fronts_(f), membership_(m), etcd_(e) {}

  std::string_view name() const noexcept override { return "leading"; }
  task<result<void>> start() override;
  // Gives the lead to another server.
  task<void> leave() override;
  task<void> stop() override;

  // Who the controllers are to this server from now on.
  void use(std::shared_ptr<net::tls_client_context> server);
  // Controllers begin once more, by what the credentials say now. On the home loop.
  void begin_anew() { anew_.set(); }
  // Whether this server does what is to be done once in a cluster. On the home loop, also before this part has started.
  bool leads() const noexcept;

 private:
  task<void> lead();
  task<void> ended();
  control::settings controller_settings();

  shared& shared_;
  identity& identity_;
  fronts& fronts_;
  membership& membership_;
  managed_etcd& etcd_;
  control::settings controllers_;
  std::unique_ptr<control_front> front_;         // the background loop's
  std::unique_ptr<control::election> election_;  // null: there is nobody else
  reactor::event anew_;
  reactor::scope running_;
};

}  // namespace kedge::server
