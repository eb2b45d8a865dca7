// pod_spec.h: the rules of a pod's specification, of pods and of templates alike. Its parts have files of their own:
// containers, volumes, probes, affinity, security.
#pragma once

#include <string_view>

#include "api/kinds/core/pod_options.h"
#include "meta/validate.h"

namespace kedge::api {

// `metadata`: of a pod; null for a template, whose pods have others.
void check_pod_spec(causes& out, const json::value& spec, const json::value& metadata, const place& at,
                    const pod_options& options);
// Annotations that mean something: mirror pods, tolerations, deletion cost, seccomp, AppArmor. `at`: of the
// annotations.
void check_pod_annotations(causes& out, const json::value& annotations, const json::value& spec, const place& at,
                           const pod_options& options);
void check_deletion_cost(causes& out, const json::value& annotations, const place& at);

// Labels, annotations and spec of a template.
void check_pod_template(causes& out, const json::value& pod_template, const place& at, const pod_options& options);
// The options for a template whose owner stood before as `old` (null: there was none).
pod_options template_options(const json::value& old_template);

inline constexpr std::string_view mirror_annotation = "kubernetes.io/config.mirror";

// "Guaranteed", "Burstable" or "BestEffort", as a new pod's status says.
std::string_view quality_of_service(const json::value& spec);

}  // namespace kedge::api
