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
  std::string audit_policy_file;          // empty: no audit, whatever else is said of it
  std::string audit_log_path;             // empty: no audit log; "-": standard output
  unsigned audit_log_max_size_mib = 100;  // rotate at this size
  unsigned audit_log_max_backups = 100;   // rotated files kept; 0: all
  unsigned audit_log_max_age_days = 366;  // 0: for ever
  std::string audit_log_format = "json";
  std::string audit_log_mode = "blocking";
  bool audit_log_compress = false;
  unsigned audit_log_buffer_events = 10'000;
  bool audit_log_truncate = false;
  unsigned audit_log_event_max_bytes = 100 * 1024;
  std::string audit_webhook_config_file;  // a kubeconfig; empty: no webhook
  std::string audit_webhook_mode = "batch";
  duration audit_webhook_initial_backoff = std::chrono::seconds(10);
  unsigned audit_webhook_buffer_events = 10'000;
  unsigned audit_webhook_batch_events = 400;
  duration audit_webhook_batch_wait = std::chrono::seconds(30);
  bool audit_webhook_throttle = true;
  unsigned audit_webhook_throttle_qps = 10;
  unsigned audit_webhook_throttle_burst = 15;
  bool audit_webhook_truncate = false;
  unsigned audit_webhook_event_max_bytes = 100 * 1024;
  unsigned audit_webhook_batch_max_bytes = 10 * 1024 * 1024;
  std::string audit_version = "audit.k8s.io/v1";  // of both; there is no other
  std::string authentication_config;              // an AuthenticationConfiguration's file
  bool anonymous_auth_given = false;
  std::string oidc_issuer_url, oidc_client_id, oidc_ca_file, oidc_username_claim = "sub", oidc_username_prefix,
                                                             oidc_groups_claim, oidc_groups_prefix;
  std::vector<std::string> oidc_signing_algs{"RS256"}, oidc_required_claims;
  bool oidc_given = false;
  std::string token_auth_file;
  std::string token_webhook_config_file;  // a kubeconfig
  std::string token_webhook_version = "v1beta1";
  duration token_webhook_cache_ttl = std::chrono::minutes(2);
  std::vector<std::string> service_account_issuers;  // empty: the cluster's own. "" among them: that one
  std::vector<std::string> api_audiences;            // empty: as K3s has them
  std::string service_account_jwks_uri;              // empty: of this server
  duration service_account_max_token_expiration{};   // zero: as long as is asked for
  bool service_account_extend_token_expiration = true;
  std::string admission_config_file;       // an AdmissionConfiguration's
  std::string authorization_config;        // an AuthorizationConfiguration's file
  std::string encryption_provider_config;  // an EncryptionConfiguration's file
  bool encryption_provider_config_automatic_reload = false;
  std::string tracing_config_file;                // a TracingConfiguration's file; empty: nothing is traced
  std::vector<std::string> authorization_mode;    // empty: Node,RBAC, as K3s has it
  std::string authorization_webhook_config_file;  // a kubeconfig
  std::string authorization_webhook_version = "v1beta1";
  duration authorization_webhook_authorized_ttl = std::chrono::minutes(5);
  duration authorization_webhook_unauthorized_ttl = std::chrono::seconds(30);
  unsigned max_requests_inflight = 400;
  unsigned max_mutating_requests_inflight = 200;
  duration request_timeout = std::chrono::minutes(1);
};

}  // namespace kedge::server
