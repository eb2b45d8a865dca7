#include "server/upkeep.h"

#include "api/bootstrap.h"
#include "api/fairness/upkeep.h"
#include "reactor/offload.h"

namespace kedge::server {

namespace {
constexpr auto settling_time = std::chrono::seconds(1);  // after the start
}

// What the start needed beyond what it keeps: pages of the log, bodies of many objects.
task<void> upkeep::give_back_memory() {
  co_await reactor::sleep_for(settling_time);
  (void)co_await reactor::offload([release = shared_.where.release_memory] {
    release();
    return true;
  });
}

task<result<void>> upkeep::start() {
  keys_.follow();
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
  if (!shared_.settings.cluster.tls_san_security)
    gateway_.tell_names([this](std::vector<std::string> names) {
      shared_.home().post([this, names = std::move(names)]() mutable { keeper_->asked(std::move(names)); });
    });
  co_return result<void>();
}

task<void> upkeep::stop() {
  running_.cancel();
  fronts_.own().others().stop();
  co_return;
}

}  // namespace kedge::server
