#include "node/pods/events.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "node/limits.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;

constexpr double burst = 25, refill_per_second = 1.0 / 300;

// spec.containers{web}, as the kubelet's events name a container.
std::string field_of(const value& pod, std::string_view container) {
  if (container.empty()) return {};
  for (auto* list : {"containers", "initContainers", "ephemeralContainers"})
    if (auto* all = pod["spec"][list].array())
      for (auto& c : *all)
        if (c["name"].as_string() == container) return fmt::format("spec.{}{{{}}}", list, container);
  return {};
}

}  // namespace

void pod_events::tell(const value& pod, std::string_view container, bool warning, std::string reason,
                      std::string message) {
  if (queue_.size() >= events_waiting_max) return;
  auto& m = pod["metadata"];
  object about{{"kind", pod["kind"].as_string("Pod")},
               {"namespace", m["namespace"]},
               {"name", m["name"]},
               {"uid", m["uid"]},
               {"apiVersion", "v1"}};
  if (m["resourceVersion"].is_string()) about.set("resourceVersion", m["resourceVersion"]);
  if (auto field = field_of(pod, container); !field.empty()) about.set("fieldPath", std::move(field));
  queue_.push_back(
      {std::move(about), warning, std::move(reason), std::move(message), reactor::loop::current().wall_now()});
  changed_.set();
}

task<void> pod_events::run() {
  for (;;) {
    while (queue_.empty()) {
      changed_.reset();
      co_await changed_.wait();
    }
    auto next = std::move(queue_.front());
    queue_.pop_front();
    co_await write(std::move(next));
  }
}

bool pod_events::may_pass(const std::string& of, wall_time now) {
  if (allowances_.size() >= events_told_max && !allowances_.contains(of)) allowances_.clear();
  auto [i, fresh] = allowances_.try_emplace(of, allowance{burst, now});
  auto& a = i->second;
  a.left = std::min(burst, a.left + std::chrono::duration<double>(now - a.filled).count() * refill_per_second);
  a.filled = now;
  if (a.left < 1) return false;
  a.left -= 1;
  return true;
}

task<void> pod_events::write(waiting w) {
  auto object_key = fmt::format("{}/{}", w.about["uid"].as_string(), w.about["fieldPath"].as_string());
  auto key = fmt::format("{}\n{}\n{}", object_key, w.reason, w.message);
  if (!may_pass(std::string(w.about["uid"].as_string()), w.when)) co_return;
  auto ns = std::string(w.about["namespace"].as_string());
  auto path = fmt::format("/api/v1/namespaces/{}/events", ns);
  auto now = format_rfc3339(w.when);
  if (auto known = told_.find(key); known != told_.end()) {
    auto count = ++known->second.count;
    value patch(object{{"count", count}, {"lastTimestamp", now}});
    auto done = co_await api_.strategic_patch(path + "/" + known->second.name, patch);
    if (done) co_return;
    told_.erase(key);
    if (done.error().code != errc::not_found) co_return;
  }
  auto name = fmt::format("{}.{:x}", w.about["name"].as_string(),
                          static_cast<std::uint64_t>(w.when.time_since_epoch().count()));
  value event(object{{"apiVersion", "v1"},
                     {"kind", "Event"},
                     {"metadata", object{{"name", name}, {"namespace", ns}}},
                     {"involvedObject", w.about},
                     {"reason", w.reason},
                     {"message", w.message},
                     {"type", w.warning ? "Warning" : "Normal"},
                     {"source", object{{"component", "kubelet"}, {"host", node_name_}}},
                     {"reportingComponent", "kubelet"},
                     {"reportingInstance", node_name_},
                     {"firstTimestamp", now},
                     {"lastTimestamp", now},
                     {"count", 1}});
  auto made = co_await api_.create(path, event);
  if (!made) {
    log::debug("event {} of pod {} not recorded: {}", w.reason, w.about["name"].as_string(), made.error().message);
    co_return;
  }
  if (told_.size() >= events_told_max) told_.clear();
  told_[key] = {name, w.when, 1};
}

}  // namespace kedge::node
