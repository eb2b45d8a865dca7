// configuration.h: what plugins of admission are told beside being on or off: apiserver.config.k8s.io
// AdmissionConfiguration.
//
// Immutable once it is read, and shared by all cores.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/admission/event_rate_limit.h"
#include "api/admission/image_policy.h"
#include "api/admission/limited_resources.h"
#include "base/error.h"

namespace kedge::api {

// PodSecurityConfiguration: what holds where a namespace says nothing, and who is passed over.
struct pod_security_settings {
  struct standard {
    std::string level = "privileged", version = "latest";
  };
  standard enforce, audit, warn;
  std::vector<std::string> users, namespaces, runtime_classes;
};

struct admission_configuration {
  pod_security_settings pod_security;
  std::vector<event_limit> event_limits;  // of EventRateLimit; none: it isn't configured
  image_policy_settings image_policy;
  std::vector<limited_resource> limited_resources;  // of ResourceQuota
};

// Blocking: a plugin's part may lie in a file of its own, relative to `folder`. An error names all that is wrong, by
// path.
result<admission_configuration> parse_admission(std::string_view text, const std::string& folder);
// errc::invalid names the plugin of `on` (--enable-admission-plugins) that can't be without its configuration.
result<void> check_configured(const admission_configuration& all, const std::vector<std::string>& on);

// "latest" or "v1.x"; "privileged", "baseline" or "restricted".
bool is_security_version(std::string_view text) noexcept;
bool is_security_level(std::string_view text) noexcept;

}  // namespace kedge::api
