// configuration.h: what plugins of admission are told beside being on or off: apiserver.config.k8s.io
// AdmissionConfiguration.
//
// Immutable once it is read, and shared by all cores.
#pragma once

#include <string>
#include <string_view>
#include <vector>

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
};

// Blocking: a plugin's part may lie in a file of its own, relative to `folder`. An error names all that is wrong, by
// path; what a plugin without effect here is told goes to `warnings`.
result<admission_configuration> parse_admission(std::string_view text, const std::string& folder,
                                                std::vector<std::string>& warnings);

// "latest" or "v1.x"; "privileged", "baseline" or "restricted".
bool is_security_version(std::string_view text) noexcept;
bool is_security_level(std::string_view text) noexcept;

}  // namespace kedge::api
