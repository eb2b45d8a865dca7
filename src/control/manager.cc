#include "control/manager.h"

#include <fmt/format.h>

#include <list>
#include <map>

#include "base/log.h"
#include "control/controllers.h"
#include "control/limits.h"
#include "control/scheduler/scheduler.h"

namespace kedge::control {

namespace {

// One controller at work.
struct running {
  std::unique_ptr<api::objects> client;
  std::unique_ptr<controller> what;
  std::unique_ptr<shell> frame;
};

unsigned workers_of(const controller_info& c, const settings& s) {
  auto it = s.workers.find(c.name);
  return it == s.workers.end() ? c.workers : it->second;
}

// Tells in /metrics that a controller is at work, while it is.
class running_mark {
 public:
  running_mark(api::metrics& all, const controller_info& c)
      : cell_(all.gauge("running_managed_controllers",
                        "Indicates where instances of a controller are currently running",
                        fmt::format("manager=\"kube-controller-manager\",name=\"{}\"", c.name))) {
    cell_.set(1);
  }
  ~running_mark() { cell_.set(0); }
  running_mark(const running_mark&) = delete;
  running_mark& operator=(const running_mark&) = delete;

 private:
  api::metric_cell& cell_;
};

// From a start to the next gap.
task<void> run_once(const settings& s, store::store& objects, const client_maker& make_client) {
  std::map<std::string_view, std::pair<std::unique_ptr<api::objects>, std::unique_ptr<event_recorder>>>
      recorders;  // by component
  std::list<running> all;
  feed events(objects);
  std::list<running_mark> marks;
  auto board = s.measures ? work_in_progress::told_by(*s.measures) : nullptr;
  for (auto& c : controllers()) {
    if (!is_enabled(c, s)) continue;
    auto& [client, recorder] = recorders[c.component];
    if (!recorder) {
      client = make_client(user_of(c), field_manager);
      recorder = std::make_unique<event_recorder>(*client, std::string(c.component));
    }
    auto& r = all.emplace_back(running{make_client(user_of(c), field_manager), c.make(s), nullptr});
    r.frame =
        std::make_unique<shell>(shell::parts{std::string(c.name), *r.client, *recorder, workers_of(c, s)}, *r.what);
    if (s.measures) {
      r.frame->queue().measure(std::make_unique<queue_metrics>(*s.measures, board, std::string(c.name)));
      marks.emplace_back(*s.measures, c);
    }
    r.frame->join(events);
  }
  reactor::scope parts;
  std::optional<error> gap;
  reactor::event ended;
  parts.spawn([](feed& f, std::optional<error>& why, reactor::event& end) -> task<void> {
    why = co_await f.run();
    end.set();
  }(events, gap, ended));
  for (auto& [component, r] : recorders) parts.spawn(r.second->run());
  parts.spawn([](feed& f, std::list<running>& controllers, reactor::scope& scope) -> task<void> {
    co_await f.synced().wait();
    for (auto& r : controllers) scope.spawn(r.frame->run());
  }(events, all, parts));
  co_await ended.wait();
  log::debug("controllers: {}; starting over", gap->message);
  parts.cancel();
}

}  // namespace

task<void> run_controllers(const settings& s, store::store& objects, client_maker make_client) {
  for (;;) {
    co_await run_once(s, objects, make_client);
    co_await reactor::sleep_for(restart_pause);
  }
}

task<void> run_scheduling(const scheduler::configuration& how, client_maker make_client, api::metrics* measures) {
  auto client = make_client({.name = "system:kube-scheduler", .groups = {"system:authenticated"}}, "kube-scheduler");
  context c{.objects = *client, .measures = measures};
  co_await run_scheduler(c, how);
}

}  // namespace kedge::control
