#include "server/fronts.h"

#include <fmt/format.h>

#include "api/metrics/loop_metrics.h"
#include "base/log.h"
#include "reactor/offload.h"
#include "server/auditing.h"
#include "server/file_follower.h"
#include "server/instance.h"
#include "server/tracing.h"

namespace kedge::server {

void fronts::add_checks() {
  using api::health_group;
  auto& checks = shared_.checks;
  auto fine = [] { return result<void>(); };
  checks.add("ping", health_group::all, fine);
  checks.add("log", health_group::all, fine);
  checks.add("etcd", health_group::all, [this] { return identity_.objects().healthy(); });
  checks.add("etcd-readiness", health_group::readyz, [this] { return identity_.objects().healthy(); });
  checks.add("secrets-encryption", health_group::readyz, [this] { return identity_.objects().complete(); });
  if (auto* sealing = shared_.sealing.get();
      sealing && (sealing->has_plugins() || shared_.settings.api.encryption_provider_config_automatic_reload))
    checks.add("kms-providers", health_group::all, [sealing] { return sealing->well(); });
  checks.add("clock", health_group::readyz, [this]() -> result<void> {
    auto wrong = identity_.credentials().not_begun(reactor::loop::current().wall_now());
    if (!wrong) return {};
    return fail(errc::unavailable, *wrong);
  });
  // The tables of custom resources are read before a front is there.
  checks.add("poststarthook/crd-informer-synced", health_group::all, fine);
  auto boot = [this]() -> result<void> {
    if (shared_.bootstrapped.load(std::memory_order_relaxed)) return {};
    return fail(errc::unavailable, "not finished");
  };
  checks.add("poststarthook/rbac/bootstrap-roles", health_group::all, boot);
  checks.add("poststarthook/start-system-namespaces-controller", health_group::all, boot);
  checks.add("shutdown", health_group::readyz, [this]() -> result<void> {
    if (!shared_.leaving.load(std::memory_order_relaxed)) return {};
    return fail(errc::unavailable, "process is shutting down");
  });
}

task<result<void>> fronts::start() {
  auto& s = shared_.settings;
  shared_.ranges.cidrs.clear();
  for (auto& text : s.cluster.service_cidrs) shared_.ranges.cidrs.push_back(ip_range::parse(text).value());
  shared_.ranges.first_port = s.cluster.node_port_first;
  shared_.ranges.last_port = s.cluster.node_port_last;
  KEDGE_CO_CHECK(co_await start_auditing(shared_));
  KEDGE_CO_CHECK(start_tracing(shared_));
  start_issuers();
  start_authorization();
  follow_encryption();
  if (auto& files = s.files; files && !files->admission.event_limits.empty())
    shared_.event_limits = std::make_shared<api::event_limiter>(files->admission.event_limits);
  add_checks();
  std::vector<api::measured_loop> measured;
  for (auto* loop : shared_.all_loops())
    measured.push_back({loop == shared_.where.background ? "background-0" : std::to_string(measured.size()), loop});
  shared_.measures.collect(
      [measured = std::move(measured)](std::string& out) { api::append_loop_metrics(out, measured); });
  auto& loops = shared_.where.loops;
  shared_.flows = std::make_unique<api::fairness::flow_control>(
      loops, s.api.max_requests_inflight + s.api.max_mutating_requests_inflight, shared_.measures);
  co_await reactor::call_on(shared_.flows->home(), [this]() -> task<bool> {
    shared_.flows->begin(identity_.objects());
    co_return true;
  });
  for (std::size_t i = 0; i < loops.size(); ++i) {
    auto opened = co_await reactor::call_on(*loops[i], [this, i]() -> task<result<void>> {
      KEDGE_CO_TRY(auto f, front::make(shared_, identity_.credentials(), identity_.objects(), i));
      gateway_.open(std::move(f));
      co_return result<void>();
    });
    KEDGE_CO_CHECK(std::move(opened));
  }
  co_return result<void>();
}

// Those that the files name; another file's count as soon as it is seen to be right.
void fronts::start_issuers() {
  auto& s = shared_.settings;
  if (!s.files || (s.files->authentication.issuers.empty() && s.api.authentication_config.empty())) return;
  shared_.issuers = std::make_unique<api::jwt_issuers>(token_audiences(s.api, s.token_issuer()), shared_.home(),
                                                       shared_.where.network);
  shared_.issuers->use(s.files->authentication.issuers);
  if (s.api.authentication_config.empty()) return;
  following_.spawn(follow_file(s.api.authentication_config, s.files->authentication_text,
                               [this](std::string text) { return take_authentication(std::move(text)); }));
}

task<void> fronts::take_authentication(std::string text) {
  auto& s = shared_.settings;
  auto own = token_issuers(s.api, s.token_issuer());
  auto read = co_await reactor::offload(
      [text = std::move(text), own = std::move(own)] { return api::parse_authentication(text, own); });
  if (!read) co_return;  // too much waits there; the file's next change counts
  reload("authentication", read->has_value());
  if (!*read) {
    log::error("{} is not taken over, what it said before goes on: {}", s.api.authentication_config,
               read->error().message);
    co_return;
  }
  log::info("{} has changed: {} issuers of tokens", s.api.authentication_config, (*read)->issuers.size());
  shared_.issuers->use(std::move((*read)->issuers));
}

void fronts::start_authorization() {
  auto& s = shared_.settings;
  shared_.authorization =
      std::make_shared<api::authorization_state>(s.files ? s.files->authorization : usual_authorization());
  if (s.api.authorization_config.empty()) return;
  following_.spawn(follow_file(s.api.authorization_config, s.files->authorization_text,
                               [this](std::string text) { return take_authorization(std::move(text)); }));
}

task<void> fronts::take_authorization(std::string text) {
  auto& path = shared_.settings.api.authorization_config;
  auto read = co_await reactor::offload([text = std::move(text)] { return api::parse_authorization(text); });
  if (!read) co_return;  // too much waits there; the file's next change counts
  reload("authorization", read->has_value());
  if (!*read) {
    log::error("{} is not taken over, what it said before goes on: {}", path, read->error().message);
    co_return;
  }
  log::info("{} has changed: {} authorizers", path, (*read)->size());
  shared_.authorization->use(**std::move(read));
}

// Where the file may change while the server runs.
void fronts::follow_encryption() {
  auto& s = shared_.settings;
  if (!shared_.sealing || !s.api.encryption_provider_config_automatic_reload) return;
  following_.spawn(follow_file(s.api.encryption_provider_config, s.files->encryption_text,
                               [this](std::string text) { return take_encryption(std::move(text)); }));
}

task<void> fronts::take_encryption(std::string text) {
  auto& path = shared_.settings.api.encryption_provider_config;
  auto read = co_await reactor::offload([text = std::move(text)] { return api::encryption::parse_encryption(text); });
  if (!read) co_return;  // too much waits there; the file's next change counts
  auto taken = *read ? co_await shared_.sealing->use(**std::move(read)) : result<void>(fail(std::move(*read).error()));
  reload("encryption", taken.has_value());
  if (taken)
    log::info("{} has changed: what is written from now on is encrypted as it says", path);
  else
    log::error("{} is not taken over, what it said before goes on: {}", path, taken.error().message);
}

void fronts::reload(std::string_view what, bool good) {
  const auto labels = fmt::format("apiserver_id_hash=\"{}\",status=\"{}\"", label_hash(instance_of(shared_.process)),
                                  good ? "success" : "failure");
  shared_.measures
      .counter(fmt::format("apiserver_{}_config_controller_automatic_reloads_total", what),
               fmt::format("Total number of automatic reloads of {} configuration split by status and apiserver "
                           "identity.",
                           what),
               labels)
      .add();
  shared_.measures
      .gauge(fmt::format("apiserver_{}_config_controller_automatic_reload_last_timestamp_seconds", what),
             fmt::format("Timestamp of the last automatic reload of {} configuration split by status and apiserver "
                         "identity.",
                         what),
             labels)
      .set(std::chrono::duration_cast<std::chrono::seconds>(reactor::loop::current().wall_now().time_since_epoch())
               .count());
}

task<void> fronts::stop() {
  following_.cancel();
  co_await on_every_loop(shared_, [this](std::size_t) -> task<bool> {
    gateway_.close();
    co_return true;
  });
  if (shared_.issuers) shared_.issuers->stop();
  co_await end_auditing(shared_);
  co_await end_tracing(shared_);
}

}  // namespace kedge::server
