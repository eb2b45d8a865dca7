// security_checks.h: the Pod Security Standards: what of a pod breaks the baseline or the restricted level.
#pragma once

#include <string>
#include <vector>

#include "json/value.h"

namespace kedge::api {

enum class security_level : unsigned char { privileged, baseline, restricted };

// Versions of the standards are Kubernetes': 1.MINOR.
inline constexpr unsigned latest_minor = ~0U;

// Each breach as messages name it: `privileged (container "a" must not set securityContext.privileged=true)`; in the
// real server's order. `pod` has spec and metadata (a pod or a template).
std::vector<std::string> security_breaches(const json::value& pod, security_level level, unsigned minor = latest_minor);

}  // namespace kedge::api
