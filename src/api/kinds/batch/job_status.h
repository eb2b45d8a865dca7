// job_status.h: what a Job's controller may say of it, and take back.
#pragma once

#include "meta/validate.h"

namespace kedge::api {

// Rules that are asked of what changes: a status that was stored before they were stays as it is.
void check_job_status(causes& out, const json::value& o, const json::value& old);
bool has_true_condition(const json::value& o, std::string_view type);

}  // namespace kedge::api
