// callout_metrics.h: what /metrics tells of webhooks' certificates, under kube-apiserver's names.
#pragma once

#include <functional>

#include "api/callout/client.h"
#include "api/metrics/metrics.h"

namespace kedge::api {

// For a core's callouts. `all` outlives what it gives.
std::function<void(callout::client::flaw)> count_flaws(metrics& all);

}  // namespace kedge::api
