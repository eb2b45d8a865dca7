// metrics.h: what pods use, as metrics.k8s.io tells it, whoever serves that.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "api/objects.h"
#include "control/workloads/scaling.h"

namespace kedge::control {

// A PodMetricsList that has items; else why there is none, in the words of client-go and kube-controller-manager.
using pod_metrics = std::expected<json::value, std::string>;

// Of the pods of a namespace that the selector means.
task<pod_metrics> ask_pod_metrics(api::objects& client, std::string ns, std::string selector);
// As where metrics.k8s.io isn't served.
const pod_metrics& not_measured();

// A resource's use by pod: of all its containers, which must all tell, or of one.
usages usages_in(const json::value& list, std::string_view resource, std::string_view container);

}  // namespace kedge::control
