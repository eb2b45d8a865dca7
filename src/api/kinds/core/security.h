// security.h: what a pod and its containers may be, run as, and be kept from.
#pragma once

#include "api/kinds/core/pod_options.h"
#include "meta/validate.h"

namespace kedge::api {

// Of a container. `host_users`: the pod's users are the host's.
void check_security_context(causes& out, const json::value& context, const place& at, bool host_users,
                            const pod_options& options);
// Of a pod: spec.securityContext; `at`: of the spec.
void check_pod_security_context(causes& out, const json::value& spec, const place& at, const pod_options& options);
// Fields that don't go with spec.os, and host processes of Windows.
void check_os(causes& out, const json::value& spec, const place& at);
void check_host_processes(causes& out, const json::value& spec, const place& at);

// Annotations of old, which said what securityContext says today: their form, and that they don't contradict it.
void check_security_annotations(causes& out, const json::value& annotations, const json::value& spec, const place& at);
void check_seccomp_agrees(causes& out, const json::value& annotations, const json::value& spec, const place& at);
void check_apparmor_agrees(causes& out, const json::value& annotations, const json::value& spec, const place& at);

inline constexpr std::string_view seccomp_pod_annotation = "seccomp.security.alpha.kubernetes.io/pod";
inline constexpr std::string_view seccomp_container_annotation =
    "container.seccomp.security.alpha.kubernetes.io/";  // and its name
inline constexpr std::string_view apparmor_annotation = "container.apparmor.security.beta.kubernetes.io/";  // as well
// securityContext.appArmorProfile that such an annotation's value means; null: none.
json::value apparmor_profile_of(std::string_view annotation);

void check_apparmor_profile(causes& out, const json::value& profile, const place& at);
// A sysctl that is the host's own when the pod has its network or IPC: why not; empty when it may be set.
std::string_view wrong_host_sysctl(std::string_view name, const json::value& spec);

}  // namespace kedge::api
