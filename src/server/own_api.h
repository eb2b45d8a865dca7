// own_api.h: this server's API as its own controllers ask it where no object of the store answers: metrics, and what
// other API servers serve behind it. A client over the network as any, on whose behalf it asks.
#pragma once

#include "api/objects.h"
#include "net/http/client.h"
#include "server/shared.h"

namespace kedge::server {

class own_api {
 public:
  // On the loop that asks. `s` outlives it.
  explicit own_api(const shared& s);

  void use(std::shared_ptr<net::tls_client_context> server) { target_.tls = std::move(server); }
  // A request impersonating `as`.
  task<result<api::raw_answer>> ask(api::user_ref as, api::raw_request q);

 private:
  net::http::client client_;
  net::http::target target_;
};

}  // namespace kedge::server
