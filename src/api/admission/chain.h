// chain.h: all admission plugins in kube-apiserver's order: every mutating step, then the mutating policies and
// webhooks, and all of it once more when those changed the object, for whom wants that; then every validating step, the
// validating policies and webhooks, and the quotas last.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/admission/configuration.h"
#include "api/admission/metrics.h"
#include "api/admission/plugin.h"
#include "api/admission/policy/policies.h"
#include "reactor/loop.h"

namespace kedge::api {

namespace webhook {
class webhooks;
}

struct admission_settings {
  // --enable-admission-plugins, --disable-admission-plugins: names as kube-apiserver has them.
  std::vector<std::string> enable{"NodeRestriction"};  // K3s turns it on
  std::vector<std::string> disable;
  admission_configuration configuration = {};  // of admission-control-config-file
  std::shared_ptr<event_limiter> events = {};  // the server's, on its home loop; null: Events aren't limited
  reactor::loop* home = nullptr;
  reactor::network* network = nullptr;  // to the image policy's server; null: this machine's
};

// All that there are, in order.
const std::vector<const plugin*>& all_plugins();

// errc::invalid names a plugin that Kubernetes doesn't have, in its own words. Plugins that exist there and do nothing
// here (webhooks, policies that are off) are accepted.
result<void> check_plugin_names(const std::vector<std::string>& names);
// Those of them that do nothing here: whoever turns one on should be told.
std::vector<std::string> plugins_without_effect(const std::vector<std::string>& names);

// One per core. All must outlive it. `objects` may be null: quotas are then not charged.
class admission_chain final : public admission {
 public:
  static result<std::unique_ptr<admission_chain>> create(const admission_settings& settings, authorizer& authz,
                                                         rule_source& rules, store::store* objects);

  // Of these plugins alone, without quotas.
  static std::unique_ptr<admission_chain> of(std::vector<const plugin*> plugins, authorizer& authz, rule_source& rules);

  // Before the first request. It outlives this.
  void call_webhooks(webhook::webhooks& those);

  task<api_result<void>> mutate(admission_request& r, const store::snapshot& cluster) override;
  task<api_result<void>> validate(admission_request& r, const store::snapshot& cluster) override;

  // Counts what it takes, in that core's own cells. `all` outlives it.
  void measure(metrics& all, std::size_t core) { measures_ = std::make_unique<admission_metrics>(all, core); }

  // Lets admission policies act from now on. `served`: what the API has now. `versions`, who converts custom resources,
  // and `measures`, where what they do is counted, outlive it; null: nobody, nowhere.
  void obey_policies(policy::policies::resources served, custom::converter* versions = nullptr,
                     metrics* measures = nullptr);

  std::vector<std::string> names() const;  // what is on, in order

 private:
  admission_chain(authorizer& authz, rule_source& rules, store::store* objects)
      : authz_(authz), rules_(rules), objects_(objects) {}
  task<api_result<void>> limit_events(const admission_request& r);
  api_result<void> mutate_by_plugins(admission_request& r, plugin_context& c, measured_half& time) const;
  task<api_result<void>> mutate_all(admission_request& r, const store::snapshot& cluster, measured_half& time);
  task<api_result<void>> validate_all(admission_request& r, const store::snapshot& cluster, measured_half& time);
  std::vector<const plugin*> plugins_;
  admission_configuration configuration_;
  std::shared_ptr<event_limiter> events_;
  reactor::loop* home_ = nullptr;
  std::unique_ptr<image_policy> images_;
  bool quotas_ = true;
  bool namespaces_ = true;  // NamespaceLifecycle is on
  bool mutating_hooks_ = true, validating_hooks_ = true;
  webhook::webhooks* hooks_ = nullptr;
  bool mutating_policies_ = true, validating_policies_ = true;
  authorizer& authz_;
  rule_source& rules_;
  store::store* objects_;
  std::unique_ptr<policy::policies> policies_;
  std::unique_ptr<admission_metrics> measures_;  // null: nobody asks
};

}  // namespace kedge::api
