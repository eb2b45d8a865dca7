// volume_attributes_class.cc: VolumeAttributesClass.
#include "api/kinds/storage/parameters.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void validate(causes& out, const json::value& o) {
  check_provisioner(out, o["driverName"], "driverName");
  check_parameters(out, o["parameters"], "parameters", false);
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  if (o["driverName"].as_string() != old["driverName"].as_string())
    out.push_back(forbidden_value("driverName", "updates to driverName are forbidden."));
  if (!(o["parameters"] == old["parameters"]))
    out.push_back(forbidden_value("parameters", "updates to parameters are forbidden."));
  validate(out, o);
}

}  // namespace

const kind_rules kinds::volume_attributes_classes{.group = "storage.k8s.io",
                                                  .resource = "volumeattributesclasses",
                                                  .answers_deleted_object = true,
                                                  .validate = validate,
                                                  .validate_update = validate_update};

}  // namespace kedge::api
