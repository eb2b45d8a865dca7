// pod_template.cc: PodTemplate.
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/pod_warnings.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void validate(causes& out, const json::value& o) { check_pod_template(out, o["template"], "template", {}); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check_pod_template(out, o["template"], "template", template_options(old["template"]));
}

void warn(warnings& out, const json::value& o, const json::value* old) {
  if (!old || !(o["metadata"]["generation"] == (*old)["metadata"]["generation"]))
    warn_pod_template(out, o["template"], "template");
}

}  // namespace

const kind_rules kinds::pod_templates{.group = "",
                                      .resource = "podtemplates",
                                      .generation = true,
                                      .answers_deleted_object = true,
                                      .validate = validate,
                                      .validate_update = validate_update,
                                      .warn = warn};

}  // namespace kedge::api
