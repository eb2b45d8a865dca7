// event.cc: Event, of both groups; stored as core/v1, for an hour.
#include "api/kind_rules.h"
#include "api/limits.h"

namespace kedge::api {
namespace {

void validate(causes& out, const json::value& o) {
  auto ns = o["metadata"]["namespace"].as_string();
  auto about = o["involvedObject"]["namespace"].as_string();
  // Events about cluster-scoped objects live in `default` (or kube-system).
  if (about.empty() ? ns != "default" && ns != "kube-system" && !ns.empty() : about != ns)
    out.push_back(invalid_value("involvedObject.namespace", about, "does not match event.namespace"));
  if (!o["eventTime"].is_string()) return;
  // An event of the newer kind says who, what and why.
  if (o["reportingComponent"].as_string().empty())
    out.push_back(required("reportingController"));
  else
    add_problems(out, "reportingController", o["reportingComponent"], check_qualified_name(o["reportingComponent"].as_string()));
  need(out, o, "", "reportingInstance");
  need(out, o, "", "action");
  need(out, o, "", "reason");
  if (o["reason"].as_string().size() > 128) out.push_back(invalid_value("reason", "", "can have at most 128 characters"));
  if (o["message"].as_string().size() > 1024) out.push_back(invalid_value("message", "", "can have at most 1024 characters"));
  auto type = o["type"].as_string();
  if (type != "Normal" && type != "Warning") out.push_back(invalid_value("type", type, "has invalid value: " + std::string(type)));
}

}  // namespace

const kind_rules kinds::events{
    .group = "", .resource = "events", .create_by_update = true, .lease_seconds = event_lease_seconds, .validate = validate};

}  // namespace kedge::api
