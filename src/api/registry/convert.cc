#include "api/registry/convert.h"

#include "base/error.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::api {
namespace {

void move(json::value& o, std::string_view from, std::string_view to) {
  auto v = o.find(from);
  if (!v) return;
  auto taken = std::move(*v);
  o.erase(from);
  if (!taken.is_null()) o.set(to, std::move(taken));
}

void set_version(json::value& o, std::string_view version) {
  if (!o["apiVersion"].is_null()) o.set("apiVersion", version);
}

void event_to_stored(json::value& o) {
  set_version(o, "v1");
  move(o, "regarding", "involvedObject");
  move(o, "note", "message");
  move(o, "deprecatedSource", "source");
  move(o, "deprecatedFirstTimestamp", "firstTimestamp");
  move(o, "deprecatedLastTimestamp", "lastTimestamp");
  move(o, "deprecatedCount", "count");
  move(o, "reportingController", "reportingComponent");
}

void event_from_stored(json::value& o) {
  set_version(o, "events.k8s.io/v1");
  move(o, "involvedObject", "regarding");
  move(o, "message", "note");
  move(o, "source", "deprecatedSource");
  move(o, "firstTimestamp", "deprecatedFirstTimestamp");
  move(o, "lastTimestamp", "deprecatedLastTimestamp");
  move(o, "count", "deprecatedCount");
  move(o, "reportingComponent", "reportingController");
}

// What v1 can't say stands in annotations, as the real server writes them.
constexpr std::string_view metrics_note = "autoscaling.alpha.kubernetes.io/metrics";
constexpr std::string_view behavior_note = "autoscaling.alpha.kubernetes.io/behavior";
constexpr std::string_view conditions_note = "autoscaling.alpha.kubernetes.io/conditions";

json::value cpu_metric(std::int64_t percent) {
  return json::object{
      {"type", "Resource"},
      {"resource", json::object{{"name", "cpu"},
                                {"target", json::object{{"type", "Utilization"}, {"averageUtilization", percent}}}}}};
}

bool is_cpu_utilization(const json::value& metric) {
  return metric["type"].as_string() == "Resource" && metric["resource"]["name"].as_string() == "cpu" &&
         metric["resource"]["target"]["averageUtilization"].is_integer();
}

void take_note(json::value& o, std::string_view note, json::value& target, std::string_view member) {
  auto text = o["metadata"]["annotations"][note].as_string();
  if (text.empty()) return;
  auto v = json::parse(text);
  if (v && !v->is_null()) target.set(member, *std::move(v));
  auto& meta = o.member("metadata");
  meta.find("annotations")->erase(note);
  if (meta["annotations"].empty()) meta.erase("annotations");
}

void autoscaler_to_stored(json::value& o) {
  set_version(o, "autoscaling/v2");
  auto& spec = o.member("spec");
  auto percent = spec["targetCPUUtilizationPercentage"];
  spec.erase("targetCPUUtilizationPercentage");
  take_note(o, metrics_note, spec, "metrics");
  take_note(o, behavior_note, spec, "behavior");
  if (percent.is_integer()) {
    auto& list = spec.member("metrics").make_array();
    list.insert(list.begin(), cpu_metric(percent.as_integer()));
  }
  if (!o["status"].is_object()) return;
  auto& status = o.member("status");
  take_note(o, conditions_note, status, "conditions");
  auto current = status["currentCPUUtilizationPercentage"];
  status.erase("currentCPUUtilizationPercentage");
  if (current.is_integer())
    status.member("currentMetrics")
        .push_back(json::object{
            {"type", "Resource"},
            {"resource", json::object{{"name", "cpu"}, {"current", json::object{{"averageUtilization", current}}}}}});
}

void put_note(json::value& o, std::string_view note, json::value& source, std::string_view member) {
  auto v = source[member];
  source.erase(member);
  if (v.is_null() || ((v.is_array() || v.is_object()) && v.empty())) return;
  o.member("metadata").member("annotations").set(note, json::write(v));
}

void autoscaler_from_stored(json::value& o) {
  set_version(o, "autoscaling/v1");
  auto& spec = o.member("spec");
  if (auto list = spec.find("metrics"); list && list->is_array()) {
    auto& metrics = *list->array();
    for (auto it = metrics.begin(); it != metrics.end(); ++it)
      if (is_cpu_utilization(*it)) {
        auto percent = (*it)["resource"]["target"]["averageUtilization"];
        metrics.erase(it);
        spec.set("targetCPUUtilizationPercentage", percent);
        break;
      }
  }
  put_note(o, metrics_note, o.member("spec"), "metrics");
  put_note(o, behavior_note, o.member("spec"), "behavior");
  if (!o["status"].is_object()) return;
  auto& status = o.member("status");
  if (auto list = status["currentMetrics"].array())
    for (auto& m : *list)
      if (m["resource"]["name"].as_string() == "cpu" && m["resource"]["current"]["averageUtilization"].is_integer()) {
        auto percent = m["resource"]["current"]["averageUtilization"];
        status.set("currentCPUUtilizationPercentage", percent);
        break;
      }
  status.erase("currentMetrics");
  put_note(o, conditions_note, o.member("status"), "conditions");
}

constexpr conversion all[] = {
    {"events.k8s.io", "v1", "events", "", "v1", event_to_stored, event_from_stored},
    {"autoscaling", "v1", "horizontalpodautoscalers", "autoscaling", "v2", autoscaler_to_stored,
     autoscaler_from_stored},
};

}  // namespace

std::span<const conversion> conversions() noexcept { return all; }

}  // namespace kedge::api
