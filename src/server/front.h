// front.h: everything between a connection and the store, for one loop: supervisor routes before the API handler, each
// with its own caches.
#pragma once

#include <memory>

#include "api/admission/chain.h"
#include "api/admission/webhook/webhooks.h"
#include "api/aggregation/observer.h"
#include "api/authentication/cached_tokens.h"
#include "api/authentication/union.h"
#include "api/authorization/rbac.h"
#include "api/authorization/review.h"
#include "api/callout/client.h"
#include "api/custom/conversion.h"
#include "api/custom/tables.h"
#include "api/fairness/body_budget.h"
#include "api/fairness/gate.h"
#include "api/handler.h"
#include "api/objects.h"
#include "server/egress.h"
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
  // Who this server is to others from the next connection on, and whom it believes from the next request on.
  result<void> use(server_identity self);
  api::objects& local() noexcept { return *local_; }
  // The server's one look at other API servers; on the home loop's front.
  api::aggregation::observer& others() noexcept { return *observer_; }
  // Another one, that acts as this user and under the manager's name. The front outlives it.
  std::unique_ptr<api::objects> client(api::user_info as, std::string manager);
  supervisor::node_passwords& passwords() noexcept { return *passwords_; }
  ~front();

 private:
  front() = default;
  void collect_usage(shared& s);
  void call_webhooks(shared& s, store::store& objects, std::size_t number);
  void observe_others(shared& s);
  store::store* objects_ = nullptr;
  void ask_others_about_tokens(shared& s, const std::vector<std::string>& audiences);
  std::vector<api::token_source*> token_sources() const;
  api::virtual_create answers_of_reviews();
  std::vector<std::shared_ptr<api::token_source>> asked_, sources_;  // whom the latter ask; in the order of asking
  std::vector<std::string> issuers_, audiences_;                     // of this cluster's tokens
  std::unique_ptr<api::token_authenticator> tokens_;
  std::unique_ptr<api::token_issuer> issuer_;
  std::unique_ptr<api::union_authenticator> who_;  // of the supervisor's paths
  std::unique_ptr<api::union_authenticator>
      api_who_;  // of the API's, to which tokens of nodes and servers are nobody's
  std::unique_ptr<api::authorizer> may_;
  std::unique_ptr<api::admission_chain> admission_;
  std::unique_ptr<api::reviews> reviews_;
  api::service_ranges ranges_;
  egress ways_;
  std::unique_ptr<api::callout::client> callouts_;
  std::shared_ptr<call_desk> desk_;  // the server's, on the home loop's front
  std::unique_ptr<api::custom::converter> versions_;
  std::unique_ptr<api::webhook::webhooks> webhooks_;
  std::unique_ptr<api::custom::tables> tables_;
  std::unique_ptr<api::objects> local_;
  std::unique_ptr<supervisor::node_dialer> dialer_;
  std::unique_ptr<supervisor::node_proxy> proxy_;
  std::unique_ptr<api::aggregation::services> services_;
  std::unique_ptr<supervisor::aggregated_servers> others_;
  std::shared_ptr<api::aggregation::observer> observer_;  // the server's, on the home loop's front
  std::shared_ptr<supervisor::usage_collector> usage_;    // the server's, on the home loop's front
  std::shared_ptr<api::fairness::gate> gate_;
  std::unique_ptr<api::fairness::body_budget> bodies_;
  std::unique_ptr<api::api_handler> api_;
  std::unique_ptr<supervisor::node_passwords> passwords_;
  std::unique_ptr<net::http::handler> routes_;
  reactor::scope sharing_;  // of seats, on one loop
};

}  // namespace kedge::server
