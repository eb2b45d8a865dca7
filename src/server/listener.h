// listener.h: the part that has the port: it answers 503 from the first moment, and says farewell to clients in the
// end.
//
//   leave: each answer is its connection's last ─▶ a second for clients to move ─▶ watches end, quiet connections are
//   closed, virtual addresses move ─▶ what runs gets 5 s, tunnels a part of it
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "net/http/server.h"
#include "server/gateway.h"
#include "server/identity.h"
#include "server/part.h"

namespace kedge::server {

class listener final : public part {
 public:
  // `moved`: gives to another server what clients reach this one by. Once, when this one takes nobody new any more.
  listener(shared& s, gateway& g, identity& i, std::function<task<void>()> moved)
      : shared_(s), gateway_(g), identity_(i), moved_(std::move(moved)) {}

  std::string_view name() const noexcept override { return "listener"; }
  // Also waits, with 503, for a clock that has not heard the time yet.
  task<result<void>> start() override;
  task<void> leave() override;
  task<void> stop() override;

  // New connections see the new serving certificate.
  void show_certificate();
  // New connections are told of the clients' authorities that there are now.
  void ask_for_certificates();

 private:
  task<result<void>> listen();
  task<result<void>> wait_for_clock();
  task<void> close_tunnels();

  shared& shared_;
  gateway& gateway_;
  identity& identity_;
  std::function<task<void>()> moved_;
  std::shared_ptr<net::tls_server_context> tls_;
  std::unique_ptr<net::http::server> http_;
  std::vector<std::unique_ptr<reactor::scope>> serving_;  // one a loop, touched there
};

}  // namespace kedge::server
