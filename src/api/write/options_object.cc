#include "api/write/options_object.h"

namespace kedge::api {
namespace {

std::string_view kind_of(operation what) {
  if (what == operation::create) return "CreateOptions";
  return what == operation::remove ? "DeleteOptions" : "UpdateOptions";
}

void put_deletion(json::object& out, const delete_options& o) {
  if (o.grace_seconds >= 0) out.set("gracePeriodSeconds", o.grace_seconds);
  json::object conditions;
  if (!o.uid.empty()) conditions.set("uid", o.uid);
  if (!o.resource_version.empty()) conditions.set("resourceVersion", o.resource_version);
  if (!conditions.empty()) out.set("preconditions", std::move(conditions));
  if (!o.propagation_policy.empty()) out.set("propagationPolicy", o.propagation_policy);
}

}  // namespace

json::value options_object(const call& c, operation what) {
  json::object out{{"kind", kind_of(what)}, {"apiVersion", "meta.k8s.io/v1"}};
  if (what == operation::remove && c.deletes) put_deletion(out, *c.deletes);
  if (c.options.dry_run) out.set("dryRun", json::array{"All"});
  if (what == operation::remove) return out;
  if (!c.options.field_manager.empty()) out.set("fieldManager", c.options.field_manager);
  if (!c.options.asked_validation.empty()) out.set("fieldValidation", c.options.asked_validation);
  return out;
}

}  // namespace kedge::api
