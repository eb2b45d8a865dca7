#include "api/admission/chain.h"

#include <algorithm>

#include "api/admission/resource_quota.h"
#include "api/admission/webhook/webhooks.h"
#include "api/registry/lookup.h"
#include "base/strings.h"
#include "reactor/cores.h"
#include "reactor/loop.h"

namespace kedge::api {
namespace {

constexpr std::string_view quota_name = "ResourceQuota", mutating_name = "MutatingAdmissionPolicy",
                           validating_name = "ValidatingAdmissionPolicy",
                           mutating_hooks_name = "MutatingAdmissionWebhook",
                           validating_hooks_name = "ValidatingAdmissionWebhook", events_name = "EventRateLimit",
                           images_name = "ImagePolicyWebhook";

// Plugins of kube-apiserver that are accepted by name and do nothing here yet.
constexpr std::string_view without_effect[] = {
    "AlwaysDeny",
    "ClusterTrustBundleAttest",
    "ExtendedResourceToleration",
    "LimitPodHardAntiAffinityTopology",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "OwnerReferencesPermissionEnforcement",
    "PodNodeSelector",
    "PodTolerationRestriction",
};

// Those that are no plugin of the chain: one that admits all, policies, the quotas, and what waits for others.
bool known_elsewhere(std::string_view name) {
  return name == "AlwaysAdmit" || name == quota_name || name == mutating_name || name == validating_name ||
         name == mutating_hooks_name || name == validating_hooks_name || name == events_name || name == images_name ||
         std::find(std::begin(without_effect), std::end(without_effect), name) != std::end(without_effect);
}

bool listed(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Not plugins of kube-apiserver but parts of its storage: they have no name there and can't be turned off.
bool always_on(const plugin* p) {
  return p == &plugins::rbac_escalation || p == &plugins::device_claim_status || p == &plugins::pod_certificate_signing;
}

bool off_by_default_there(const plugin* p) { return !p->on_by_default; }

}  // namespace

const std::vector<const plugin*>& all_plugins() {
  static const std::vector<const plugin*> all = {
      &plugins::namespace_lifecycle,
      &plugins::limit_ranger,
      &plugins::service_account,
      &plugins::node_restriction,
      &plugins::taint_nodes_by_condition,
      &plugins::always_pull_images,
      &plugins::pod_security,
      &plugins::priority,
      &plugins::default_toleration_seconds,
      &plugins::default_storage_class,
      &plugins::storage_object_in_use_protection,
      &plugins::volume_claim_resize,
      &plugins::runtime_class,
      &plugins::certificate_approval,
      &plugins::certificate_signing,
      &plugins::certificate_subject_restriction,
      &plugins::default_ingress_class,
      &plugins::deny_service_external_ips,
      &plugins::pod_topology_labels,
      &plugins::node_declared_features,
      &plugins::pod_resize,
      &plugins::rbac_escalation,
      &plugins::device_claim_status,
      &plugins::pod_certificate_signing,
  };
  return all;
}

result<void> check_plugin_names(const std::vector<std::string>& names) {
  for (auto& name : names) {
    auto& all = all_plugins();
    bool known = known_elsewhere(name) ||
                 std::any_of(all.begin(), all.end(), [&](const plugin* p) { return !always_on(p) && p->name == name; });
    if (!known) return fail(errc::invalid, "enable-admission-plugins plugin " + quote(name) + " is unknown");
  }
  return {};
}

std::vector<std::string> plugins_without_effect(const std::vector<std::string>& names) {
  std::vector<std::string> out;
  for (auto& name : names)
    if (std::find(std::begin(without_effect), std::end(without_effect), name) != std::end(without_effect))
      out.push_back(name);
  return out;
}

result<std::unique_ptr<admission_chain>> admission_chain::create(const admission_settings& settings, authorizer& authz,
                                                                 rule_source& rules, store::store* objects) {
  KEDGE_CHECK(check_plugin_names(settings.enable));
  KEDGE_CHECK(check_plugin_names(settings.disable));
  for (auto& name : settings.enable)
    if (listed(settings.disable, name) && name != "NodeRestriction")
      return fail(errc::invalid, quote(name) + " in enable-admission-plugins and disable-admission-plugins overlapped");
  std::unique_ptr<admission_chain> out(new admission_chain(authz, rules, objects));
  out->configuration_ = settings.configuration;
  for (auto p : all_plugins()) {
    bool on = always_on(p) ||
              ((!off_by_default_there(p) || listed(settings.enable, p->name)) && !listed(settings.disable, p->name));
    if (on) out->plugins_.push_back(p);
  }
  if (listed(settings.enable, events_name)) out->events_ = settings.events;
  out->home_ = settings.home;
  if (listed(settings.enable, images_name) && settings.configuration.image_policy.server)
    out->images_ = std::make_unique<image_policy>(settings.configuration.image_policy, settings.network);
  out->quotas_ = !listed(settings.disable, quota_name);
  out->mutating_policies_ = !listed(settings.disable, mutating_name);
  out->validating_policies_ = !listed(settings.disable, validating_name);
  out->namespaces_ = !listed(settings.disable, plugins::namespace_lifecycle.name);
  out->mutating_hooks_ = !listed(settings.disable, mutating_hooks_name);
  out->validating_hooks_ = !listed(settings.disable, validating_hooks_name);
  return out;
}

std::unique_ptr<admission_chain> admission_chain::of(std::vector<const plugin*> plugins, authorizer& authz,
                                                     rule_source& rules) {
  std::unique_ptr<admission_chain> out(new admission_chain(authz, rules, nullptr));
  out->plugins_ = std::move(plugins);
  out->quotas_ = out->namespaces_ = false;
  return out;
}

void admission_chain::obey_policies(policy::policies::resources served, custom::converter* versions,
                                    metrics* measures) {
  if (!objects_ || (!mutating_policies_ && !validating_policies_)) return;
  policies_ = std::make_unique<policy::policies>(*objects_, authz_, std::move(served), versions, measures);
  policies_->follow();
}

std::vector<std::string> admission_chain::names() const {
  std::vector<std::string> out;
  for (auto p : plugins_)
    if (!always_on(p)) out.emplace_back(p->name);
  if (events_) out.emplace_back(events_name);
  if (images_) out.emplace_back(images_name);
  if (policies_ && mutating_policies_) out.emplace_back(mutating_name);
  if (hooks_ && mutating_hooks_) out.emplace_back(mutating_hooks_name);
  if (policies_ && validating_policies_) out.emplace_back(validating_name);
  if (hooks_ && validating_hooks_) out.emplace_back(validating_hooks_name);
  if (quotas_) out.emplace_back(quota_name);
  return out;
}

void admission_chain::call_webhooks(webhook::webhooks& those) {
  hooks_ = &those;
  those.judge_access_by(authz_);
}

api_result<void> admission_chain::mutate_by_plugins(admission_request& r, plugin_context& c,
                                                    measured_half& time) const {
  for (auto p : plugins_) {
    if (!p->mutate || !includes(p->operations, r.what)) continue;
    auto done = p->mutate(r, c);
    if (!always_on(p)) time.passed(p->name, !done);
    if (!done) return done;
  }
  return {};
}

task<api_result<void>> admission_chain::mutate(admission_request& r, const store::snapshot& cluster) {
  measured_half time(measures_.get(), true, r.what);
  auto done = co_await mutate_all(r, cluster, time);
  time.ended(!done);
  co_return done;
}

task<api_result<void>> admission_chain::validate(admission_request& r, const store::snapshot& cluster) {
  measured_half time(measures_.get(), false, r.what);
  auto done = co_await validate_all(r, cluster, time);
  time.ended(!done);
  co_return done;
}

task<api_result<void>> admission_chain::mutate_all(admission_request& r, const store::snapshot& cluster,
                                                   measured_half& time) {
  auto view = cluster;
  // Another server may have just made the namespace: before it is called missing, the newest state is asked for.
  bool asks =
      namespaces_ && objects_ && r.what == operation::create && !r.who.ns.empty() && r.who.resource != "namespaces";
  store::object_ref found;
  if (asks && !(found = view.find(object_key("namespaces", {}, r.who.ns)))) {
    auto newest = co_await objects_->latest();
    if (!newest) co_return fail(from_error(newest.error()));
    view = std::move(*newest);
  }
  auto& home = reactor::loop::current();
  plugin_context c{view, authz_, rules_, home.random(), home.wall_now(), configuration_, std::move(found)};
  const bool policies = policies_ && mutating_policies_;
  const bool hooks = hooks_ && mutating_hooks_ && hooks_->concern(r, true);
  policy::reinvocation obeyed;
  webhook::rounds asked;
  for (;;) {
    KEDGE_CO_CHECK(mutate_by_plugins(r, c, time));
    if (policies) {
      auto done = co_await policies_->mutate(r, view, obeyed);
      time.passed(mutating_name, !done);
      KEDGE_CO_CHECK(std::move(done));
    }
    if (hooks) {
      auto done = co_await hooks_->mutate(r, view, asked);
      time.passed(mutating_hooks_name, !done);
      KEDGE_CO_CHECK(std::move(done));
    }
    if (asked.changed) obeyed.changed();
    if (obeyed.again || !(obeyed.wanted || asked.changed)) break;
    obeyed.again = asked.second = true;
  }
  co_return api_result<void>{};
}

task<api_result<void>> admission_chain::limit_events(const admission_request& r) {
  auto keys = keys_of_event(r);
  if (!keys) co_return api_result<void>();
  auto over = co_await reactor::call_on(
      *home_, [limits = events_, keys = *std::move(keys)]() -> task<std::vector<std::string>> {
        co_return limits->take(keys, reactor::loop::current().now());
      });
  if (over.empty()) co_return api_result<void>();
  auto refusal =
      too_many_requests("Too many requests: " + (over.size() == 1 ? over.front() : "[" + join(over, ", ") + "]"), 0);
  co_return fail(std::move(refusal));
}

task<api_result<void>> admission_chain::validate_all(admission_request& r, const store::snapshot& cluster,
                                                     measured_half& time) {
  auto& home = reactor::loop::current();
  plugin_context c{cluster, authz_, rules_, home.random(), home.wall_now(), configuration_};
  for (auto p : plugins_) {
    if (!p->validate || !includes(p->operations, r.what)) continue;
    auto done = p->validate(r, c);
    if (!always_on(p)) time.passed(p->name, !done);
    if (!done) co_return done;
  }
  if (events_ && (r.what == operation::create || r.what == operation::update)) {
    auto done = co_await limit_events(r);
    time.passed(events_name, !done);
    if (!done) co_return done;
  }
  if (images_ && image_policy::concerns(r)) {
    auto done = co_await images_->judge(r);
    time.passed(images_name, !done);
    if (!done) co_return done;
  }
  if (policies_ && validating_policies_) {
    auto done = co_await policies_->validate(r, cluster);
    time.passed(validating_name, !done);
    if (!done) co_return done;
  }
  if (hooks_ && validating_hooks_ && hooks_->concern(r, false)) {
    auto done = co_await hooks_->validate(r, cluster);
    time.passed(validating_hooks_name, !done);
    if (!done) co_return done;
  }
  if (!quotas_) co_return api_result<void>{};
  auto done = co_await charge_quotas(r, cluster, objects_, configuration_.limited_resources);
  time.passed(quota_name, !done);
  co_return done;
}

}  // namespace kedge::api
