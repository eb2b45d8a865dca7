// event.cc: Event, of both groups; stored as core/v1, for an hour.
#include <fmt/format.h>

#include "api/kinds/limits.h"
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::size_t name_max = 128, note_max = 1024;

// What both groups ask, of events that say when they happened (the newer kind) more. `reporter`: the field's name in
// the group.
void check(causes& out, const json::value& o, std::string_view reporter) {
  auto ns = o["metadata"]["namespace"].as_string(), about = o["involvedObject"]["namespace"].as_string();
  auto other_namespace = [&] {
    out.push_back(invalid_value("involvedObject.namespace", about, "does not match event.namespace"));
  };
  if (!o["eventTime"].is_string()) {
    // Events about what is in no namespace live in `default`.
    if (about.empty() ? !ns.empty() && ns != "default" : ns != about) other_namespace();
    return;
  }
  if (about.empty() && ns != "default" && ns != "kube-system") other_namespace();
  auto controller = o["reportingComponent"].as_string();
  if (controller.empty()) out.push_back(required(std::string(reporter)));
  add_problems(out, place(reporter), controller, check_qualified_name(controller));
  auto check_text = [&](const char* member, std::size_t most) {
    need(out, o, "", member);
    if (o[member].as_string().size() > most)
      out.push_back(invalid_value(member, "", fmt::format("can have at most {} characters", most)));
  };
  check_text("reportingInstance", name_max);
  check_text("action", name_max);
  check_text("reason", name_max);
  if (o["message"].as_string().size() > note_max)
    out.push_back(invalid_value("message", "", fmt::format("can have at most {} characters", note_max)));
}

void validate(causes& out, const json::value& o) { check(out, o, "reportingComponent"); }

void check_series(causes& out, const json::value& o) {
  if (!o["series"].is_object()) return;
  if (o["series"]["count"].as_integer() < 2) out.push_back(invalid_value("series.count", "", "should be at least 2"));
  if (o["series"]["lastObservedTime"].is_null()) out.push_back(required("series.lastObservedTime"));
}

void validate_new(causes& out, const json::value& o) {
  check(out, o, "reportingController");
  check_series(out, o);
  if (o["eventTime"].is_null()) out.push_back(required("eventTime"));
  if (auto type = o["type"].as_string(); type != "Normal" && type != "Warning")
    out.push_back(invalid_value("type", "", fmt::format("has invalid value: {}", type)));
  auto unset = [&](const char* member, bool is) {
    if (is) out.push_back(invalid_value(member, "", "needs to be unset"));
  };
  unset("firstTimestamp", !o["firstTimestamp"].is_null());
  unset("lastTimestamp", !o["lastTimestamp"].is_null());
  unset("count", o["count"].as_integer() != 0);
  unset("source", !o["source"]["component"].as_string().empty() || !o["source"]["host"].as_string().empty());
}

void validate_new_update(causes& out, const json::value& o, const json::value& old) {
  check(out, o, "reportingController");
  if (!(o["series"] == old["series"])) check_series(out, o);
  auto same_struct = [&](const char* member, const char* type) {
    if (!(o[member] == old[member]))
      out.push_back(invalid_value(member, internal_form(type, o[member]), "field is immutable"));
  };
  same_struct("involvedObject", "core/v1.ObjectReference");
  immutable(out, o["reason"].as_string(), old["reason"].as_string(), "reason");
  immutable(out, o["message"].as_string(), old["message"].as_string(), "message");
  same_struct("source", "core/v1.EventSource");
  for (auto member : {"firstTimestamp", "lastTimestamp"}) immutable(out, o[member], old[member], member);
  immutable(out, o["count"].as_integer(), old["count"].as_integer(), "count");
  immutable(out, o["type"].as_string(), old["type"].as_string(), "type");
  immutable(out, o["eventTime"], old["eventTime"], "eventTime");
  immutable(out, o["action"].as_string(), old["action"].as_string(), "action");
  same_struct("related", "core/v1.ObjectReference");
  immutable(out, o["reportingComponent"].as_string(), old["reportingComponent"].as_string(), "reportingController");
  immutable(out, o["reportingInstance"].as_string(), old["reportingInstance"].as_string(), "reportingInstance");
}

}  // namespace

const kind_rules kinds::events{.group = "",
                               .resource = "events",
                               .create_by_update = true,
                               .lease_seconds = event_lease_seconds,
                               .validate = validate};
const kind_rules kinds::new_events{.group = "events.k8s.io",
                                   .resource = "events",
                                   .create_by_update = true,
                                   .lease_seconds = event_lease_seconds,
                                   .validate = validate_new,
                                   .validate_update = validate_new_update};

}  // namespace kedge::api
