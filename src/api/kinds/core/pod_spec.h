// pod_spec.h: the rules of a pod's specification, of pods and of templates alike.
#pragma once

#include "api/validate.h"

namespace kedge::api {

// `path`: "spec" or "spec.template.spec".
void check_pod_spec(causes& out, const json::value& spec, const std::string& path);
// Labels, annotations and spec of a template. `labels_of` is what its owner selects by (null: not checked).
void check_pod_template(causes& out, const json::value& object, const std::string& path, const json::value* selector);
// "Guaranteed", "Burstable" or "BestEffort", as a new pod's status says.
std::string_view quality_of_service(const json::value& spec);
// Warning texts: deprecated annotations and fields, duplicate names.
void warn_pod_spec(std::vector<std::string>& out, const json::value& spec, const std::string& path);

}  // namespace kedge::api
