// api_arguments.h: what is understood of --kube-apiserver-arg.
#pragma once

#include <string>
#include <vector>

#include "base/time.h"

namespace kedge::server {

struct api_server_arguments {
  std::vector<std::string> disable_admission_plugins;
  std::vector<std::string> enable_admission_plugins;
  std::string tls_min_version = "VersionTLS12";
  duration event_ttl = std::chrono::hours(1);
  bool anonymous_auth = false;            // K3s's default, not upstream's
  std::string audit_log_path;             // empty: no audit log; "-": standard output
  unsigned audit_log_max_size_mib = 100;  // rotate at this size
  unsigned audit_log_max_backups = 0;     // rotated files kept; 0: all
  unsigned audit_log_max_age_days = 0;    // 0: for ever
  unsigned max_requests_inflight = 400;
  unsigned max_mutating_requests_inflight = 200;
  duration request_timeout = std::chrono::minutes(1);
};

}  // namespace kedge::server
