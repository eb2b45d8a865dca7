#include "server/front.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/authentication/limits.h"
#include "api/authentication/webhook_tokens.h"
#include "api/authorization/limits.h"
#include "api/fairness/limits.h"
#include "api/limits.h"
#include "api/local_objects.h"
#include "api/metrics/callout_metrics.h"
#include "api/metrics/conversion_metrics.h"
#include "supervisor/routes.h"

namespace kedge::server {

namespace {

// What this program was built for, as Go names it.
#if defined(__aarch64__)
constexpr const char* platform = "linux/arm64";
#else
constexpr const char* platform = "linux/amd64";
#endif

api::version_info version_of(const settings& s) {
  return {.git_version = s.version, .git_commit = s.commit, .platform = platform};
}

}  // namespace

front::~front() {
  if (usage_) usage_->stop();
  if (desk_) desk_->close();
  if (observer_) observer_->stop();
}

void front::call_webhooks(shared& s, store::store& objects, std::size_t number) {
  callouts_ = std::make_unique<api::callout::client>(objects, ways_, api::count_flaws(s.measures));
  versions_ = std::make_unique<api::custom::converter>(*callouts_, api::count_conversions(s.measures));
  webhooks_ = std::make_unique<api::webhook::webhooks>(api::webhook::webhooks::parts{
      .objects = objects, .calls = *callouts_, .versions = versions_.get(), .measures = &s.measures});
  webhooks_->follow();
  admission_->call_webhooks(*webhooks_);
  if (number == 0) s.desk = desk_ = std::make_shared<call_desk>(*callouts_);
}

std::unique_ptr<api::objects> front::client(api::user_info as, std::string manager) {
  return api::make_objects(*objects_, *admission_, ranges_, tables_.get(), std::move(as), std::move(manager));
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

// As with usage: one, and the way to it from any loop.
void front::observe_others(shared& s) {
  observer_ = std::make_shared<api::aggregation::observer>(*services_, *others_, *local_, s.measures);
  s.documents = [home = &s.home(), o = observer_] {
    return reactor::call_on(*home,
                            [o]() -> task<std::shared_ptr<const api::aggregation::documents>> { co_return o->now(); });
  };
}

namespace {
const std::optional<api::anonymous_settings> no_anonymous;
}

// Those whose answers are worth remembering are asked through a cache.
void front::ask_others_about_tokens(shared& s, const std::vector<std::string>& audiences) {
  auto& files = s.settings.files;
  if (!files) return;
  if (files->tokens) sources_.push_back(files->tokens);
  auto remembered = [this](std::shared_ptr<api::token_source> of, duration good, duration unknown) {
    sources_.push_back(std::make_shared<api::cached_tokens>(*of, good, unknown));
    asked_.push_back(std::move(of));
  };
  if (s.issuers)
    remembered(std::shared_ptr<api::token_source>(std::shared_ptr<void>(), s.issuers.get()), api::token_good_time, {});
  const auto kept = s.settings.api.token_webhook_cache_ttl;
  if (files->token_webhook)
    remembered(std::make_shared<api::webhook_tokens>(files->token_webhook, s.settings.api.token_webhook_version,
                                                     audiences, s.where.network),
               kept, kept);
}

std::vector<api::token_source*> front::token_sources() const {
  std::vector<api::token_source*> out;
  for (auto& source : sources_) out.push_back(source.get());
  return out;
}

api::virtual_create front::answers_of_reviews() {
  return [r = reviews_.get(), may = may_.get(), asks = !sources_.empty()](
             const api::authorized& to, const json::value& body, const store::snapshot& at,
             std::vector<std::string>& warnings) -> task<api::api_result<json::value>> {
    if (asks && to.asked().resource == "tokenreviews") co_return co_await r->token_review_by_all(body, at);
    auto made = r->create(to.asked(), body, at, &warnings);
    // A review of access is one question.
    for (int i = 0; may->has_open_question() && i < api::open_questions_max; ++i) {
      co_await may->answer_open_question();
      made = r->create(to.asked(), body, at, &warnings);
    }
    co_return made;
  };
}

namespace {

// What service accounts' tokens are worth, under kube-apiserver's names.
std::function<void(api::token_use)> counted_tokens(api::metrics& all, std::size_t core) {
  auto counter = [&](std::string_view what, std::string_view help) {
    return &all.counter(fmt::format("serviceaccount_{}_tokens_total", what), fmt::format("Cumulative {} used", help),
                        "", core);
  };
  auto* valid = counter("valid", "valid projected service account tokens");
  auto* stale = counter("stale", "stale projected service account tokens");
  auto* legacy = counter("legacy", "legacy service account tokens");
  return [=](api::token_use use) {
    (use == api::token_use::valid ? valid : use == api::token_use::stale ? stale : legacy)->count();
  };
}

}  // namespace

result<void> front::use(server_identity self) {
  others_->use(std::move(self.as_front_proxy));
  proxy_->use(std::move(self.to_kubelets));
  dialer_->use(std::move(self.to_servers));
  who_->use(self.client_ca, self.request_header_ca);
  api_who_->use(self.client_ca, self.request_header_ca);
  KEDGE_TRY(auto issuing, api::token_issuer::create(*self.signing_key, issuers_.front(), audiences_));
  *issuer_ = std::move(issuing);
  KEDGE_CHECK(tokens_->use(std::move(self.token_keys)));
  KEDGE_TRY(auto keys, api::oidc_keys(tokens_->settings()));
  api_->replace_document("/openid/v1/jwks", std::move(keys));
  return {};
}

result<std::unique_ptr<front>> front::make(shared& s, supervisor::credentials& identity, store::store& objects,
                                           std::size_t number) {
  std::unique_ptr<front> f(new front);
  f->objects_ = &objects;
  auto& cluster = s.settings.cluster;
  auto& arguments = s.settings.api;
  const auto issuers = token_issuers(arguments, s.settings.token_issuer());
  const auto audiences = token_audiences(arguments, s.settings.token_issuer());
  f->issuers_ = issuers;
  f->audiences_ = audiences;
  api::token_settings tokens{.issuers = issuers, .api_audiences = audiences, .keys = s.self.token_keys};
  KEDGE_TRY(auto authenticator, api::token_authenticator::create(std::move(tokens)));
  f->tokens_ = std::make_unique<api::token_authenticator>(std::move(authenticator));
  KEDGE_TRY(auto issuing, api::token_issuer::create(*s.self.signing_key, issuers.front(), audiences));
  f->issuer_ = std::make_unique<api::token_issuer>(std::move(issuing));
  f->ask_others_about_tokens(s, audiences);
  api::authn_settings authn{.anonymous = arguments.anonymous_auth,
                            .client_ca = s.self.client_ca,
                            .request_header_ca = s.self.request_header_ca,
                            .others = f->token_sources()};
  if (auto& anonymous = s.settings.files ? s.settings.files->authentication.anonymous : no_anonymous; anonymous) {
    authn.anonymous = anonymous->enabled;
    authn.anonymous_paths = anonymous->paths;
  }
  authn.passwd = [&identity] { return identity.passwd_table(); };
  auto of_api = authn;
  of_api.passwd = nullptr;
  f->who_ = std::make_unique<api::union_authenticator>(std::move(authn), f->tokens_.get(), objects);
  f->api_who_ = std::make_unique<api::union_authenticator>(std::move(of_api), f->tokens_.get(), objects);
  auto server_address = s.settings.own_address();
  KEDGE_TRY(auto keys_of_tokens, api::oidc_keys(f->tokens_->settings()));
  api::rule_source* rules = nullptr;
  auto may = std::make_unique<api::configured_authorizer>(s.authorization, s.where.network);
  rules = &may->rules();
  f->may_ = std::move(may);
  api::admission_settings plugins{.disable = arguments.disable_admission_plugins};
  plugins.enable.insert(plugins.enable.end(), arguments.enable_admission_plugins.begin(),
                        arguments.enable_admission_plugins.end());
  if (s.settings.files) plugins.configuration = s.settings.files->admission;
  plugins.events = s.event_limits;
  plugins.home = &s.home();
  plugins.network = s.where.network;
  KEDGE_TRY(f->admission_, api::admission_chain::create(plugins, *f->may_, *rules, &objects));
  const auto longest =
      std::chrono::duration_cast<std::chrono::seconds>(arguments.service_account_max_token_expiration).count();
  f->reviews_ = std::make_unique<api::reviews>(
      *f->may_, *rules, *f->tokens_, f->issuer_.get(),
      api::review_settings{.others = f->token_sources(),
                           .token_seconds_longest = longest,
                           .extends_injected = arguments.service_account_extend_token_expiration});

  api::virtual_resource virtuals{.handles = &api::reviews::handles, .create = f->answers_of_reviews()};
  f->tables_ = std::make_unique<api::custom::tables>(
      objects, s.serves_usage() ? api::usage_resources() : std::vector<const api::served*>());
  f->admission_->measure(s.measures, number + 1);
  f->tokens_->count_by(counted_tokens(s.measures, number + 1));
  f->call_webhooks(s, objects, number);
  f->tables_->convert_by(*f->versions_);
  f->tables_->follow();
  f->admission_->obey_policies([t = f->tables_.get()] { return t->current(); }, f->versions_.get(), &s.measures);
  f->ranges_ = s.ranges;
  f->local_ = api::make_objects(objects, *f->admission_, f->ranges_, f->tables_.get());
  f->dialer_ = std::make_unique<supervisor::node_dialer>(supervisor::node_dialer::parts{.settings = cluster,
                                                                                        .tunnels = *s.tunnels,
                                                                                        .objects = *f->local_,
                                                                                        .peers = s.self.to_servers,
                                                                                        .network = s.where.network});
  f->ways_.lead_through(*f->dialer_);
  f->proxy_ = std::make_unique<supervisor::node_proxy>(*f->dialer_, *f->local_, s.self.to_kubelets);
  if (number == 0 && s.serves_usage()) f->collect_usage(s);
  f->services_ = std::make_unique<api::aggregation::services>(objects);
  f->services_->follow();
  f->others_ = std::make_unique<supervisor::aggregated_servers>(*f->dialer_, *f->local_, s.self.as_front_proxy);
  if (number == 0) f->observe_others(s);
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
                     .traces = s.traces.get(),
                     .ranges = f->ranges_,
                     .virtuals = std::move(virtuals),
                     .version = version_of(s.settings),
                     .server_address = server_address,
                     .custom = f->tables_.get(),
                     .others = {.services = f->services_.get(), .ways = f->others_.get(), .documents = s.documents},
                     .usage = s.usage,
                     .documents = {{"/.well-known/openid-configuration", "application/json",
                                    api::oidc_configuration(f->tokens_->settings(), "https://" + server_address,
                                                            arguments.service_account_jwks_uri)},
                                   {"/openid/v1/jwks", "application/jwk-set+json", std::move(keys_of_tokens)}},
                     // One of the server's, which outlives its fronts.
                     .flags = {std::shared_ptr<const void>(), &s.settings.flags},
                     .gate = f->gate_.get(),
                     .flows = s.flows.get(),
                     .bodies = f->bodies_.get(),
                     .core = number,
                     .cores = s.where.loops.size(),
                     .request_time = arguments.request_timeout,
                     .outdated = s.outdated()});
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
       .rotate_authorities = s.rotate_authorities,
       .encryption_status = s.encryption_status,
       .change_encryption = s.change_encryption,
       .datastore_status = s.datastore_status,
       .compact_datastore = s.compact_datastore,
       .etcd_members = s.etcd_members,
       .snapshot_request = s.snapshot_request,
       .tunnels = *s.tunnels,
       .dialer = *f->dialer_});
  return f;
}

}  // namespace kedge::server
