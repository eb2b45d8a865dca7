// front.h: everything between a connection and the store, for one loop: supervisor routes before the API handler, each
// with its own caches.
#pragma once

#include <memory>

#include "api/admission/chain.h"
#include "api/authentication/union.h"
#include "api/authorization/rbac.h"
#include "api/authorization/review.h"
#include "api/custom/tables.h"
#include "api/fairness/body_budget.h"
#include "api/fairness/gate.h"
#include "api/handler.h"
#include "api/objects.h"
#include "server/shared.h"
#include "supervisor/credentials.h"
#include "supervisor/node_dialer.h"
#include "supervisor/node_passwords.h"
#include "supervisor/node_proxy.h"
#include "supervisor/usage_collector.h"

namespace kedge::server {

class front {
 public:
  // On its loop, the one of that number. All outlive it.
  static result<std::unique_ptr<front>> make(shared& s, supervisor::credentials& identity, store::store& objects,
                                             std::size_t number);

  task<void> serve(net::http::exchange& e) { return routes_->serve(e); }
  // Who this server is to kubelets and to the other servers, from the next connection on.
  void use(std::shared_ptr<net::tls_client_context> kubelets, std::shared_ptr<net::tls_client_context> servers);
  api::objects& local() noexcept { return *local_; }
  supervisor::node_passwords& passwords() noexcept { return *passwords_; }
  ~front();

 private:
  front() = default;
  void collect_usage(shared& s);
  std::unique_ptr<api::token_authenticator> tokens_;
  std::unique_ptr<api::token_issuer> issuer_;
  std::unique_ptr<api::union_authenticator> who_;  // of the supervisor's paths
  std::unique_ptr<api::union_authenticator>
      api_who_;  // of the API's, to which tokens of nodes and servers are nobody's
  std::unique_ptr<api::authorizer> may_;
  std::unique_ptr<api::admission_chain> admission_;
  std::unique_ptr<api::reviews> reviews_;
  api::service_ranges ranges_;
  std::unique_ptr<api::custom::tables> tables_;
  std::unique_ptr<api::objects> local_;
  std::unique_ptr<supervisor::node_dialer> dialer_;
  std::unique_ptr<supervisor::node_proxy> proxy_;
  std::shared_ptr<supervisor::usage_collector> usage_;  // the server's, on the home loop's front
  std::shared_ptr<api::fairness::gate> gate_;
  std::unique_ptr<api::fairness::body_budget> bodies_;
  std::unique_ptr<api::api_handler> api_;
  std::unique_ptr<supervisor::node_passwords> passwords_;
  std::unique_ptr<net::http::handler> routes_;
  reactor::scope sharing_;  // of seats, on one loop
};

}  // namespace kedge::server
