// resource_quota.h: a namespace's quotas: checked, and charged in the same step.
//
// Every other plugin has passed when this one runs, so what is charged is about to be stored. If the write fails after
// all, the quota controller's recount gives the charge back.
#pragma once

#include "api/admission/admission.h"
#include "api/admission/limited_resources.h"

namespace kedge::api {

// `objects` may be null: then quotas are checked against the snapshot and not charged (dry run). `limited`: what needs
// a quota that covers it; it must outlive the work.
task<api_result<void>> charge_quotas(admission_request& r, const store::snapshot& cluster, store::store* objects,
                                     const std::vector<limited_resource>& limited);

}  // namespace kedge::api
