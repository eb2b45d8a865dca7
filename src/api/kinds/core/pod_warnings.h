// pod_warnings.h: what is allowed of pods and templates, and yet not what its writer can want.
#pragma once

#include "api/kinds/core/warnings.h"

namespace kedge::api {

void warn_pod(warnings& out, const json::value& pod);
void warn_pod_template(warnings& out, const json::value& pod_template, const place& at);

}  // namespace kedge::api
