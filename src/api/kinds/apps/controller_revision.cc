// controller_revision.cc: ControllerRevision.
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void validate(causes& out, const json::value& o) {
  not_negative(out, o, "", "revision");
  if (o["data"].is_null())
    out.push_back(required("data", "data is mandatory"));
  else if (!o["data"].is_object())
    out.push_back(required("data", "data must be a valid JSON object"));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  not_negative(out, o, "", "revision");
  immutable(out, o["data"], old["data"], "data");
}

}  // namespace

const kind_rules kinds::controller_revisions{
    .group = "apps", .resource = "controllerrevisions", .validate = validate, .validate_update = validate_update};

}  // namespace kedge::api
