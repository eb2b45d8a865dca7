#include "node/pods/shutdown.h"

#include <algorithm>

#include "base/log.h"
#include "node/limits.h"
#include "reactor/sync.h"

namespace kedge::node {

using json::value;

std::vector<std::vector<std::size_t>> by_phase(const std::vector<shutdown_grace>& phases,
                                               const std::vector<std::int64_t>& priorities) {
  std::vector<std::vector<std::size_t>> out(phases.size());
  if (phases.empty()) return out;
  for (std::size_t i = 0; i < priorities.size(); ++i) {
    auto above = std::upper_bound(phases.begin(), phases.end(), priorities[i],
                                  [](std::int64_t p, const shutdown_grace& g) { return p < g.priority; });
    auto index = above == phases.begin() ? 0 : above - phases.begin() - 1;
    out[static_cast<std::size_t>(index)].push_back(i);
  }
  return out;
}

// The next phase waits until these have gone, and no longer than they have.
task<void> shutdown_keeper::end_phase(const shutdown_grace& phase, std::vector<std::string> uids) {
  for (auto& uid : uids) {
    auto* worker = parts_.pods.find_uid(uid);
    if (!worker) continue;
    auto grace = phase.seconds;
    auto& own = (*worker->pod())["spec"]["terminationGracePeriodSeconds"];
    if (own.is_integer()) grace = std::min(grace, own.as_integer());
    parts_.pods.shut_down(uid, grace);
  }
  auto& here = reactor::loop::current();
  auto until = here.now() + std::chrono::seconds(phase.seconds);
  auto left = [&] {
    return std::any_of(uids.begin(), uids.end(), [&](auto& uid) {
      auto* worker = parts_.pods.find_uid(uid);
      return worker && !worker->has_ended();
    });
  };
  while (left() && here.now() < until) co_await reactor::sleep_until(std::min(until, here.now() + shutdown_poll));
}

task<void> shutdown_keeper::end_pods() {
  std::vector<std::string> uids;
  std::vector<std::int64_t> priorities;
  for (auto* w : parts_.pods.all()) {
    if (w->has_ended() || is_terminal_phase(w->status()["phase"].as_string())) continue;
    auto& pod = *w->pod();
    uids.emplace_back(pod["metadata"]["uid"].as_string());
    priorities.push_back(pod["spec"]["priority"].as_integer());
  }
  auto phases = by_phase(parts_.phases, priorities);
  for (std::size_t i = 0; i < phases.size(); ++i) {
    if (phases[i].empty()) continue;
    std::vector<std::string> of_phase;
    for (auto one : phases[i]) of_phase.push_back(uids[one]);
    log::info("the machine goes down: {} pods of priority {} and above have {} s", of_phase.size(),
              parts_.phases[i].priority, parts_.phases[i].seconds);
    co_await end_phase(parts_.phases[i], std::move(of_phase));
  }
}

task<result<void>> shutdown_keeper::follow() {
  std::int64_t seconds = 0;
  for (auto& p : parts_.phases) seconds += p.seconds;
  KEDGE_CO_TRY(auto machine, co_await reactor::with_deadline(logind::open(parts_.bus),
                                                             reactor::loop::current().now() + bus_deadline));
  KEDGE_CO_CHECK(co_await reactor::with_deadline(machine.want_delay(std::chrono::seconds(seconds)),
                                                 reactor::loop::current().now() + bus_deadline));
  KEDGE_CO_TRY(auto lock,
               co_await reactor::with_deadline(machine.inhibit(), reactor::loop::current().now() + bus_deadline));
  KEDGE_CO_CHECK(co_await reactor::with_deadline(machine.follow(), reactor::loop::current().now() + bus_deadline));
  log::info("a shutdown of the machine waits for its pods, {} s at most", seconds);
  for (;;) {
    KEDGE_CO_TRY(auto goes_down, co_await machine.next());
    parts_.tell("NodeShutdown", goes_down ? "Shutdown manager detected shutdown event"
                                          : "Shutdown manager detected shutdown cancellation");
    parts_.changed(goes_down);
    if (goes_down) {
      co_await end_pods();
      lock.close();
    } else {
      KEDGE_CO_TRY(lock,
                   co_await reactor::with_deadline(machine.inhibit(), reactor::loop::current().now() + bus_deadline));
    }
  }
}

task<void> shutdown_keeper::run() {
  if (parts_.phases.empty()) co_return;
  std::string told;
  for (;;) {
    auto ended = co_await follow();
    if (!ended && ended.error().message != std::exchange(told, ended.error().message))
      log::warning("a shutdown of the machine wouldn't wait for its pods: {}", ended.error().message);
    co_await reactor::sleep_for(bus_retry);
  }
}

}  // namespace kedge::node
