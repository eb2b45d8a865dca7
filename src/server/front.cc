#include "server/front.h"

#include <algorithm>

#include "api/fairness/limits.h"
#include "api/limits.h"
#include "api/local_objects.h"
#include "supervisor/routes.h"

namespace kedge::server {

front::~front() {
  if (usage_) usage_->stop();
}

// The server's one collector, and the way to it from any loop.
void front::collect_usage(shared& s) {
  usage_ = std::make_shared<supervisor::usage_collector>(
      [p = proxy_.get()](std::string node, std::function<result<void>(std::string_view)> take) {
        return p->read_kubelet(std::move(node), "/metrics/resource", std::move(take));
      },
      *local_);
  s.usage = [home = &s.home(), c = usage_] { return reactor::call_on(*home, [c] { return c->now(); }); };
}

void front::use(std::shared_ptr<net::tls_client_context> kubelets, std::shared_ptr<net::tls_client_context> servers) {
  proxy_->use(std::move(kubelets));
  dialer_->use(std::move(servers));
}

result<std::unique_ptr<front>> front::make(shared& s, supervisor::credentials& identity, store::store& objects,
                                           std::size_t number) {
  std::unique_ptr<front> f(new front);
  auto& cluster = s.settings.cluster;
  auto& arguments = s.settings.api;
  auto issuer = "https://kubernetes.default.svc." + cluster.cluster_domain;
  api::token_settings tokens{.issuers = {issuer}, .api_audiences = {issuer, "k3s"}, .keys = s.token_keys};
  KEDGE_TRY(auto authenticator, api::token_authenticator::create(std::move(tokens)));
  f->tokens_ = std::make_unique<api::token_authenticator>(std::move(authenticator));
  KEDGE_TRY(auto issuing, api::token_issuer::create(*s.signing_key, issuer, {issuer, "k3s"}));
  f->issuer_ = std::make_unique<api::token_issuer>(std::move(issuing));
  api::authn_settings authn{
      .anonymous = arguments.anonymous_auth, .client_ca = s.client_ca, .request_header_ca = s.request_header_ca};
  authn.passwd = [&identity] { return identity.passwd_table(); };
  auto of_api = authn;
  of_api.passwd = nullptr;
  f->who_ = std::make_unique<api::union_authenticator>(std::move(authn), f->tokens_.get(), objects);
  f->api_who_ = std::make_unique<api::union_authenticator>(std::move(of_api), f->tokens_.get(), objects);
  auto server_address = s.settings.own_address();
  KEDGE_TRY(auto keys_of_tokens, api::oidc_keys(f->tokens_->settings()));
  api::rule_source* rules = nullptr;
  f->may_ = api::make_authorizer(&rules);
  api::admission_settings plugins{.disable = arguments.disable_admission_plugins};
  plugins.enable.insert(plugins.enable.end(), arguments.enable_admission_plugins.begin(),
                        arguments.enable_admission_plugins.end());
  KEDGE_TRY(f->admission_, api::admission_chain::create(plugins, *f->may_, *rules, &objects));
  f->reviews_ = std::make_unique<api::reviews>(*f->may_, *rules, *f->tokens_, f->issuer_.get());

  api::virtual_resource virtuals{
      .handles = &api::reviews::handles,
      .create = [r = f->reviews_.get()](const api::authorized& to, const json::value& body, const store::snapshot& at) {
        return r->create(to.asked(), body, at);
      }};
  f->tables_ = std::make_unique<api::custom::tables>(
      objects, s.serves_usage() ? api::usage_resources() : std::vector<const api::served*>());
  f->tables_->follow();
  f->ranges_ = s.ranges;
  f->local_ = api::make_objects(objects, *f->admission_, f->ranges_, f->tables_.get());
  f->dialer_ = std::make_unique<supervisor::node_dialer>(supervisor::node_dialer::parts{.settings = cluster,
                                                                                        .tunnels = *s.tunnels,
                                                                                        .objects = *f->local_,
                                                                                        .peers = s.to_servers,
                                                                                        .network = s.where.network});
  f->proxy_ = std::make_unique<supervisor::node_proxy>(*f->dialer_, *f->local_, s.to_kubelets);
  if (number == 0 && s.serves_usage()) f->collect_usage(s);
  virtuals.connect = [p = f->proxy_.get()](net::http::exchange& e, const api::authorized& to, std::string rest) {
    return p->serve(e, to, std::move(rest));
  };
  f->gate_ = s.flows->open(number);
  if (&s.flows->home() == &reactor::loop::current()) f->sharing_.spawn(s.flows->run(objects));
  const auto for_bodies = api::fairness::memory_for_bodies() / s.where.loops.size();
  f->bodies_ = std::make_unique<api::fairness::body_budget>(
      for_bodies, std::max(for_bodies / api::fairness::bodies_user_part, api::body_max_bytes));
  f->api_ = std::make_unique<api::api_handler>(
      api::api_parts{.objects = objects,
                     .who = *f->api_who_,
                     .may = *f->may_,
                     .rules = *f->admission_,
                     .checks = s.checks,
                     .measures = s.measures,
                     .audit = s.audit.get(),
                     .ranges = f->ranges_,
                     .virtuals = std::move(virtuals),
                     .version = {.git_version = s.settings.version, .git_commit = s.settings.commit},
                     .server_address = server_address,
                     .custom = f->tables_.get(),
                     .usage = s.usage,
                     .documents = {{"/.well-known/openid-configuration", "application/json",
                                    api::oidc_configuration(f->tokens_->settings(), "https://" + server_address)},
                                   {"/openid/v1/jwks", "application/jwk-set+json", std::move(keys_of_tokens)}},
                     .gate = f->gate_.get(),
                     .flows = s.flows.get(),
                     .bodies = f->bodies_.get(),
                     .core = number,
                     .cores = s.where.loops.size(),
                     .request_time = arguments.request_timeout});
  f->passwords_ = std::make_unique<supervisor::node_passwords>(*f->local_);
  f->routes_ = supervisor::make_routes(
      {.settings = cluster,
       .identity = identity,
       .who = *f->who_,
       .objects = *f->local_,
       .passwords = *f->passwords_,
       .controllers_running = [&s] { return s.controllers_running.load(std::memory_order_relaxed); },
       .serves = [&s] { return s.checks.ask(api::health_group::readyz, {}, false, {}).status == 200; },
       .next = *f->api_,
       .who_without_password = *f->api_who_,
       .token_stands = s.token_stands,
       .rotate_token = s.rotate_token,
       .encryption_status = s.encryption_status,
       .change_encryption = s.change_encryption,
       .datastore_status = s.datastore_status,
       .compact_datastore = s.compact_datastore,
       .snapshot_request = s.snapshot_request,
       .tunnels = *s.tunnels,
       .dialer = *f->dialer_});
  return f;
}

}  // namespace kedge::server
