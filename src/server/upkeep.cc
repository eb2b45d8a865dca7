#include "server/upkeep.h"

#include "api/bootstrap.h"
#include "api/fairness/upkeep.h"
#include "reactor/cores.h"
#include "reactor/offload.h"

namespace kedge::server {

namespace {
// After the start: of the server, and of what begins with it, controllers and the own node.
constexpr std::chrono::seconds settling_times[] = {std::chrono::seconds(1), std::chrono::seconds(10)};
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

task<result<void>> upkeep::start() {
  keys_.follow();
  auto& own = fronts_.own();
  housekeeping_ = std::make_unique<control::context>(
      control::context{.objects = own.local(), .serves_usage = shared_.serves_usage()});
  running_.spawn(control::run_housekeeping(
      *housekeeping_, [this, &own] { return api::ensure_system_objects(own.local(), membership_.objects()); }));
  running_.spawn(api::fairness::keep_configuration(own.local()));
  running_.spawn(own.passwords().keep());
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
  co_return;
}

}  // namespace kedge::server
