#include "control/event_recorder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/time.h"
#include "control/limits.h"

namespace kedge::control {

namespace {
const api::resource_id events{"", "v1", "events"};
}

void event_recorder::tell(notice n) {
  if (queue_.size() >= notices_max) {
    log::debug("{}: too many events wait to be written; not told: {}", component_, n.message);
    return;
  }
  // An Event is named after its time, and no two may have the same.
  last_ = std::max(reactor::loop::current().wall_now(), last_ + std::chrono::nanoseconds(1));
  queue_.push_back({std::move(n), last_});
  told_.pulse();
}

task<void> event_recorder::record(const json::value& about, std::string type, std::string reason, std::string message) {
  co_await write({{reference_to(about), type == "Warning", std::move(reason), std::move(message)},
                  reactor::loop::current().wall_now()});
}

task<void> event_recorder::run() {
  for (;;) {
    while (queue_.empty()) co_await told_.wait();
    auto next = std::move(queue_.front());
    queue_.pop_front();
    co_await write(std::move(next));
  }
}

json::value event_recorder::event_of(const waiting& w, const event_correlator::answer& a, const std::string& ns,
                                     const std::string& name) const {
  auto& about = w.what.about;
  json::object involved{{"kind", about.kind}};
  if (!about.ns.empty()) involved.set("namespace", about.ns);
  involved.set("name", about.name);
  if (!about.uid.empty()) involved.set("uid", about.uid);
  involved.set("apiVersion", about.api_version);
  auto when = format_rfc3339(w.when);
  return json::object{{"kind", "Event"},
                      {"apiVersion", "v1"},
                      {"metadata", json::object{{"name", name}, {"namespace", ns}}},
                      {"involvedObject", std::move(involved)},
                      {"reason", w.what.reason},
                      {"message", a.message},
                      {"source", json::object{{"component", component_}}},
                      {"firstTimestamp", when},
                      {"lastTimestamp", when},
                      {"count", a.count},
                      {"type", w.what.warning ? "Warning" : "Normal"},
                      {"eventTime", nullptr},
                      {"reportingComponent", component_},
                      {"reportingInstance", ""}};
}

task<void> event_recorder::write(waiting w) {
  auto a = correlator_.observe(w.what, reactor::loop::current().now());
  if (a.what == event_correlator::verdict::drop) co_return;
  if (a.what == event_correlator::verdict::count_up) {
    auto counted = co_await objects_.patch(
        events, a.ns, a.name, api::patch_kind::merge,
        json::object{{"count", a.count}, {"lastTimestamp", format_rfc3339(w.when)}, {"message", a.message}});
    if (counted || counted.error().code != 404) co_return;
    correlator_.lost(a.key);  // it has expired
    a.count = 1;
  }
  auto ns = w.what.about.ns.empty() ? "default" : w.what.about.ns;
  auto name = fmt::format("{}.{:x}", w.what.about.name, w.when.time_since_epoch().count());
  auto made = co_await objects_.create(events, ns, event_of(w, a, ns, name));
  if (made) {
    correlator_.written(a.key, ns, name);
    co_return;
  }
  correlator_.lost(a.key);
  log::debug("event about {} not recorded: {}", w.what.about.name, made.error().message);
}

}  // namespace kedge::control
