// control_front.h: what controllers and scheduler need, on the loop that is theirs: clients of the API that act as
// their accounts, with caches of this loop's own.
#pragma once

#include <memory>

#include "api/admission/chain.h"
#include "api/admission/webhook/webhooks.h"
#include "api/authorization/rbac.h"
#include "api/custom/conversion.h"
#include "api/custom/tables.h"
#include "api/metrics/conversion_metrics.h"
#include "control/fence.h"
#include "control/manager.h"
#include "server/home_caller.h"
#include "server/own_api.h"
#include "server/shared.h"

namespace kedge::server {

class control_front {
 public:
  // Whose lead the controllers' writes depend on (control/fence.h).
  static constexpr auto term = "kube-controller-manager";

  // On its loop, as all else. Both outlive it.
  static result<std::unique_ptr<control_front>> make(shared& s, store::store& objects);

  // Either may be null. `began`: the revision of the term; 0: writes depend on nothing.
  void run(const control::settings* controllers, const control::scheduler::configuration* scheduling,
           store::revision began);
  void stop() { running_.cancel(); }
  void use(std::shared_ptr<net::tls_client_context> server) { own_api_.use(std::move(server)); }

  // POST to a node's port, through this server's API.
  task<result<api::raw_answer>> post_to_node(std::string node, std::string path, std::string body);

 private:
  control_front(shared& s, store::store& objects)
      : objects_(objects),
        measures_(s.measures),
        ranges_(s.ranges),
        calls_(s),
        versions_(calls_, api::count_conversions(s.measures)),
        webhooks_({.objects = objects_, .calls = calls_, .versions = &versions_, .measures = &s.measures}),
        own_api_(s) {}

  control::fenced_store objects_;
  api::metrics& measures_;
  api::service_ranges ranges_;
  home_caller calls_;
  api::custom::converter versions_;
  api::webhook::webhooks webhooks_;
  std::unique_ptr<api::authorizer> may_;
  std::unique_ptr<api::admission_chain> admission_;
  std::unique_ptr<api::custom::tables> tables_;
  own_api own_api_;
  reactor::scope running_;  // last: it ends first
};

}  // namespace kedge::server
