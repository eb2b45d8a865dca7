// capacity_policy.h: how much of a device's capacity a claim may ask for: one of some values, or steps in a range.
#pragma once

#include "meta/validate.h"

namespace kedge::api {

// `capacity`: a quantity, which there is in all.
void check_capacity_policy(causes& out, std::string_view capacity, const json::value& policy, const place& at);

}  // namespace kedge::api
