// probes.h: what a kubelet does to a container beside running it: probes, hooks at its start and end.
#pragma once

#include "meta/validate.h"

namespace kedge::api {

// livenessProbe, readinessProbe and startupProbe of a container. `grace`: the pod's terminationGracePeriodSeconds.
void check_probes(causes& out, const json::value& container, const place& at, const json::value& grace);
// postStart, preStop, stopSignal. `os`: the pod's.
void check_lifecycle(causes& out, const json::value& lifecycle, const place& at, const json::value& grace,
                     const json::value& os);

}  // namespace kedge::api
