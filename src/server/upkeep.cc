#include "server/upkeep.h"

#include "api/bootstrap.h"
#include "api/fairness/upkeep.h"
#include "base/log.h"
#include "base/strings.h"
#include "node/machine/certificates.h"
#include "node/machine/system_info.h"
#include "reactor/cores.h"
#include "reactor/offload.h"

namespace kedge::server {

namespace {
// After the start: of the server, and of what begins with it, controllers and the own node.
constexpr std::chrono::seconds settling_times[] = {std::chrono::seconds(1), std::chrono::seconds(10)};
constexpr auto certificates_interval = std::chrono::hours(6);  // as the serving certificate's
constexpr auto address_interval = std::chrono::seconds(5);     // twice that, and a write, is far below 30 s
constexpr auto signing_pause = std::chrono::seconds(10);       // a living server knows a changed record within a second
constexpr auto set_aside_interval = std::chrono::seconds(5);   // ten names are looked up
}  // namespace

// What the start needed beyond what it keeps: pages of the log, bodies of many objects.
task<void> upkeep::give_back_memory() {
  for (auto time : settling_times) {
    co_await reactor::sleep_for(time);
    if (auto& release = shared_.where.release_thread_memory)
      for (auto* loop : shared_.all_loops())
        co_await reactor::call_on(*loop, [release]() -> task<bool> {
          release();
          co_return true;
        });
    (void)co_await reactor::offload([release = shared_.where.release_memory] {
      release();
      return true;
    });
  }
}

// All of this server's own: at once when one was set aside (`kedge certificate rotate`), else long before its end.
task<void> upkeep::keep_certificates() {
  auto& loop = reactor::loop::current();
  for (auto all_at = loop.now();;) {
    auto aside = co_await reactor::offload([c = identity_.credentials_ptr()] { return c->is_set_aside(); });
    if ((aside && *aside) || loop.now() >= all_at) {
      co_await renew_certificates();
      all_at = loop.now() + certificates_interval;
    }
    co_await reactor::sleep_for(set_aside_interval);
  }
}

// The machine's address, where none was given, is what other servers and agents are told.
task<void> upkeep::follow_addresses() {
  std::string current = shared_.settings.cluster.advertise_address, last;
  for (;;) {
    co_await reactor::sleep_for(address_interval);
    auto found = co_await reactor::offload(node::default_addresses);
    auto now = found && *found ? (*found)->front() : std::string();
    // A machine between two addresses has none, or one for a moment: what is seen twice counts.
    if (now.empty() || now == current || std::exchange(last, now) != now) continue;
    log::info("this server's address is {} now, and was {}", now, current);
    keeper_->asked({now});
    if (auto moved = co_await membership_.servers()->move(now); !moved) {
      log::warning("the new address can't be told to the others yet: {}", moved.error().message);
      continue;
    }
    current = shared_.moved_to = now;
  }
}

task<void> upkeep::renew_certificates() {
  auto now = reactor::loop::current().wall_now();
  auto made =
      co_await reactor::offload([c = identity_.credentials_ptr(), now] { return c->renew(now, system_random()); });
  auto told = co_await reactor::offload(
      [dir = shared_.settings.cluster.data_dir, now] { return node::report_certificates(dir, now); });
  if (told) {
    std::lock_guard lock(expirations_->mutex);
    expirations_->text = std::move(told->metrics);
  }
  if (!made) co_return;
  if (!*made) {
    log::error("this server's certificates can't be renewed: {}", (*made).error().message);
    co_return;
  }
  if ((*made)->empty()) co_return;
  log::info("made anew, and in use: {}", join(**made, ", "));
  if (auto used = identity_.read_clients(); used)
    co_await use_identity();
  else
    log::error("this server's new certificates can't be used: {}", used.error().message);
}

// What stands in shared_.self, by all who act or believe by it.
task<void> upkeep::use_identity() {
  co_await on_every_loop(shared_, [this, self = shared_.self](std::size_t) -> task<bool> {
    auto* here = gateway_.here();
    if (auto used = here ? here->use(self) : result<void>(); !used)
      log::error("what this server is known by can't be used: {}", used.error().message);
    co_return true;
  });
  leading_.use(shared_.self.to_servers);
  listener_.show_certificate();
  keeper_->changed();
}

// The cluster's authorities are others now. The key that signs tokens comes a while later: a token that it signed is
// shown to every server, and those must know it by then.
task<result<void>> upkeep::take_authorities() {
  auto now = reactor::loop::current().wall_now();
  auto done =
      co_await reactor::offload([c = identity_.credentials_ptr(), now] { return c->reload(now, system_random()); });
  if (!done) co_return fail(done.error());
  KEDGE_CO_CHECK(std::move(*done));
  KEDGE_CO_CHECK(identity_.read_trust());
  co_await use_identity();
  listener_.ask_for_certificates();
  leading_.begin_anew();
  if (auto told = co_await api::ensure_system_objects(fronts_.own().local(), membership_.objects()); !told)
    log::warning("other API servers aren't told of the new authorities yet: {}", told.error().message);
  log::info("this server goes by the cluster's new authorities");
  signing_.cancel();
  signing_.spawn(sign_by_new_key());
  co_return result<void>();
}

task<void> upkeep::sign_by_new_key() {
  co_await reactor::sleep_for(signing_pause);
  auto before = shared_.self.signing_key->public_part();
  if (auto used = identity_.use_signing_key(); !used) {
    log::error("the new key of service account tokens can't be used: {}", used.error().message);
    co_return;
  }
  if (shared_.self.signing_key->public_part() == before) co_return;
  co_await use_identity();
  leading_.begin_anew();
  log::info("service account tokens are signed by the new key from now on");
}

task<result<void>> upkeep::start() {
  keys_.follow([this] { return take_authorities(); });
  auto& own = fronts_.own();
  housekeeping_ = std::make_unique<control::context>(
      control::context{.objects = own.local(), .serves_usage = shared_.serves_usage()});
  running_.spawn(control::run_housekeeping(
      *housekeeping_, [this, &own] { return api::ensure_system_objects(own.local(), membership_.objects()); }));
  running_.spawn(api::fairness::keep_configuration(own.local()));
  running_.spawn(own.passwords().keep());
  running_.spawn(own.others().run());
  if (shared_.where.release_memory) running_.spawn(give_back_memory());
  keeper_ = std::make_unique<supervisor::serving_keeper>(identity_.credentials(), own.local(),
                                                         [this] { listener_.show_certificate(); });
  running_.spawn(keeper_->run());
  running_.spawn(keep_certificates());
  if (shared_.settings.cluster.follows_addresses) running_.spawn(follow_addresses());
  shared_.measures.collect([said = expirations_](std::string& out) {
    std::lock_guard lock(said->mutex);
    out += said->text;
  });
  if (!shared_.settings.cluster.tls_san_security)
    gateway_.tell_names([this](std::vector<std::string> names) {
      shared_.home().post([this, names = std::move(names)]() mutable { keeper_->asked(std::move(names)); });
    });
  co_return result<void>();
}

task<void> upkeep::stop() {
  running_.cancel();
  signing_.cancel();
  fronts_.own().others().stop();
  co_return;
}

}  // namespace kedge::server
