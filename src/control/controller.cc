#include "control/controller.h"

#include "base/log.h"
#include "control/scheduler/scheduler.h"

namespace kedge::control {

namespace {
constexpr auto restart_pause = std::chrono::milliseconds(100);  // between a lost watch and a new start
}

task<void> follow(store::store& s, std::string prefix, std::function<void(const store::event&)> each,
                  std::function<void()> restarted) {
  reactor::named_activity a("who follows " + prefix);
  for (;;) {
    auto snapshot = s.current();
    auto watcher = s.watch(prefix, snapshot.at());
    if (watcher) {
      if (restarted) restarted();
      std::vector<store::object_ref> existing;
      snapshot.scan(prefix, "", [&](const store::object_ref& o) {
        existing.push_back(o);
        return true;
      });
      snapshot = {};
      for (auto& o : existing) each({store::event_type::added, o->mod(), o, {}});
      existing = {};
      for (;;) {
        auto events = co_await (*watcher)->next();
        if (!events) {
          log::debug("following {}: {}; starting over", prefix, events.error().message);
          break;
        }
        for (auto& e : *events) each(*e);
      }
    }
    co_await reactor::sleep_for(restart_pause);
  }
}

static task<void> work_one(const std::string& controller, work_queue& queue,
                           const std::function<task<api::api_result<void>>(std::string key)>& reconcile) {
  for (;;) {
    auto key = co_await queue.next();
    reactor::named_activity a("controller " + controller + ", " + key);
    auto r = co_await reconcile(key);
    if (r) {
      queue.done(key);
      continue;
    }
    if (r.error().code != 409 && r.error().code != 404)
      log::warning("{}: {}: {}", controller, key, r.error().message);
    queue.retry(key);
  }
}

task<void> work(std::string controller, work_queue& queue, unsigned at_once,
                std::function<task<api::api_result<void>>(std::string key)> reconcile) {
  reactor::scope workers;
  for (unsigned i = 0; i < at_once; ++i) workers.spawn(work_one(controller, queue, reconcile));
  co_await workers.join();
}

std::string_view name_under(std::string_view prefix, std::string_view key) {
  return key.starts_with(prefix) ? key.substr(prefix.size()) : key;
}

task<void> run_controllers(context& c) {
  reactor::scope all;
  all.spawn(run_node_ipam(c));
  all.spawn(run_node_lifecycle(c));
  all.spawn(run_cloud_node(c));
  all.spawn(run_service_accounts(c));
  all.spawn(run_role_aggregation(c));
  all.spawn(run_namespace_lifecycle(c));
  all.spawn(run_garbage_collector(c));
  all.spawn(run_token_cleaner(c));
  all.spawn(run_resource_quota(c));
  all.spawn(run_disruption(c));
  all.spawn(run_storage_protection(c));
  if (c.scheduling) all.spawn(run_scheduler(c, *c.scheduling));
  co_await all.join();
}

}  // namespace kedge::control
