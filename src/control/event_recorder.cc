#include "control/event_recorder.h"

#include <cstdio>

#include "base/log.h"
#include "base/time.h"

namespace kedge::control {

namespace {
constexpr std::size_t told_max = 4096;  // client-go's cache size; beyond it counting starts over
const api::resource_id events{"", "v1", "events"};
}  // namespace

task<void> event_recorder::record(const json::value& about, std::string type, std::string reason, std::string message) {
  auto& loop = reactor::loop::current();
  auto wall = loop.wall_now();
  auto now = format_rfc3339(wall);
  auto& meta = about["metadata"];
  auto ns = std::string(meta["namespace"].as_string("default"));
  auto name = std::string(meta["name"].as_string());
  auto uid = std::string(meta["uid"].as_string());
  // kubectl describe node asks by uid = the node's name: kubelet and node controller refer to nodes so.
  if (about["kind"].as_string() == "Node") uid = name;
  auto same = uid + "\n" + type + "\n" + reason + "\n" + message;
  if (auto it = told_.find(same); it != told_.end()) {
    ++it->second.count;
    auto counted = co_await objects_.patch(events, it->second.ns, it->second.name, api::patch_kind::merge,
                                           json::object{{"count", it->second.count}, {"lastTimestamp", now}});
    if (counted) co_return;
    told_.erase(same);
  }
  char suffix[32];
  std::snprintf(suffix, sizeof suffix, ".%llx", static_cast<unsigned long long>(wall.time_since_epoch().count()));
  auto event_name = name + suffix;
  json::object involved{{"kind", std::string(about["kind"].as_string())}, {"name", name}, {"uid", uid}, {"apiVersion", std::string(about["apiVersion"].as_string())}};
  if (meta.find("namespace")) involved.set("namespace", ns);
  auto made = co_await objects_.create(
      events, ns,
      json::object{{"kind", "Event"}, {"apiVersion", "v1"},
                   {"metadata", json::object{{"name", event_name}, {"namespace", ns}}},
                   {"involvedObject", std::move(involved)},
                   {"reason", std::move(reason)}, {"message", std::move(message)},
                   {"source", json::object{{"component", component_}}},
                   {"firstTimestamp", now}, {"lastTimestamp", now}, {"count", 1}, {"type", std::move(type)},
                   {"eventTime", nullptr}, {"reportingComponent", component_}, {"reportingInstance", ""}});
  if (!made) {
    log::debug("event about {} not recorded: {}", name, made.error().message);
    co_return;
  }
  if (told_.size() >= told_max) told_.clear();
  told_[same] = {ns, event_name, 1};
}

}  // namespace kedge::control
