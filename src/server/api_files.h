// api_files.h: the files that --kube-apiserver-arg names, read before anything is made: what is wrong in one ends the
// start.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/admission/configuration.h"
#include "api/audit/policy.h"
#include "api/authentication/configuration.h"
#include "api/authentication/token_file.h"
#include "api/authorization/configuration.h"
#include "api/encryption/configuration.h"
#include "api/remote/kubeconfig.h"
#include "api/tracing/configuration.h"
#include "server/api_arguments.h"

namespace kedge::server {

struct api_files {
  std::optional<api::audit_policy> audit_policy;
  std::shared_ptr<const api::remote_server> audit_webhook;
  api::authentication_configuration authentication;  // of its file or of the oidc-… flags
  std::string authentication_text;                   // of the file
  std::shared_ptr<api::token_file> tokens;           // null: none
  api::admission_configuration admission;
  std::shared_ptr<const api::remote_server> token_webhook;
  api::authorization_configuration authorization;          // of its file or of the authorization-… flags
  std::string authorization_text;                          // of the file
  std::vector<api::encryption::rule_settings> encryption;  // empty: there is no file
  std::string encryption_text;
  std::optional<api::tracing::settings> tracing;  // nullopt: there is no file
};

// Those that this server's own tokens may be of, the first that it gives out; and what they are for. `own`: the
// cluster's issuer, as K3s names it.
std::vector<std::string> token_issuers(const api_server_arguments& arguments, const std::string& own);
std::vector<std::string> token_audiences(const api_server_arguments& arguments, const std::string& own);

// As --authorization-mode has it when nothing else is said.
api::authorization_configuration usual_authorization();

// Blocking. An error names each argument, the file and what is wrong in it, a line for each; `warnings` gets what is
// passed over.
result<std::shared_ptr<const api_files>> read_api_files(const api_server_arguments& arguments,
                                                        const std::string& own_issuer,
                                                        std::vector<std::string>& warnings);

}  // namespace kedge::server
