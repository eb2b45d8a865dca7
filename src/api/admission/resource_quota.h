// resource_quota.h: a namespace's quotas: checked, and charged in the same step.
//
// Every other plugin has passed when this one runs, so what is charged is about to be stored. If the write fails after
// all, the quota controller's recount gives the charge back.
#pragma once

#include "api/admission/admission.h"

namespace kedge::api {

// `objects` may be null: then quotas are checked against the snapshot and not charged (dry run).
task<api_result<void>> charge_quotas(admission_request& r, const store::snapshot& cluster, store::store* objects);

}  // namespace kedge::api
