#include "control/controller.h"

#include "base/log.h"
#include "control/limits.h"

namespace kedge::control {

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
    if (r.error().code != 409 && r.error().code != 404) log::warning("{}: {}: {}", controller, key, r.error().message);
    queue.retry(key);
  }
}

task<void> work(std::string controller, work_queue& queue, unsigned at_once,
                std::function<task<api::api_result<void>>(std::string key)> reconcile) {
  reactor::scope workers;
  for (unsigned i = 0; i < at_once; ++i) workers.spawn(work_one(controller, queue, reconcile));
  co_await workers.join();
}

}  // namespace kedge::control
