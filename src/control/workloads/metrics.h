// metrics.h: what is measured: what pods use (metrics.k8s.io), and whatever adapters know of pods, objects and the
// world (custom.metrics.k8s.io, external.metrics.k8s.io), whoever serves that.
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

// A metric that spec.metrics names (type Pods, Object or External), as a list that has items: of exactly one for an
// object.
using metric_values = std::expected<json::value, std::string>;
task<metric_values> ask_metric(api::objects& client, json::value metric, std::string ns, std::string pod_selector);

// By pod.
usages usages_of(const json::value& list);
// All of it.
std::int64_t sum_of(const json::value& list);

}  // namespace kedge::control
