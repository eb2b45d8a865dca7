// conversion_metrics.h: what /metrics tells of webhooks that convert custom resources, under kube-apiserver's names.
#pragma once

#include <functional>

#include "api/custom/conversion.h"
#include "api/metrics/metrics.h"

namespace kedge::api {

// For a core's converter. `all` outlives what it gives.
std::function<void(const custom::conversion_call&)> count_conversions(metrics& all);

}  // namespace kedge::api
