// api_files.h: the files that --kube-apiserver-arg names, read before anything is made: what is wrong in one ends the
// start.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/audit/policy.h"
#include "api/remote/kubeconfig.h"
#include "server/api_arguments.h"

namespace kedge::server {

struct api_files {
  std::optional<api::audit_policy> audit_policy;
  std::shared_ptr<const api::remote_server> audit_webhook;
};

// Blocking. An error names the argument, the file and what is wrong in it; `warnings` gets what is passed over.
result<std::shared_ptr<const api_files>> read_api_files(const api_server_arguments& arguments,
                                                        std::vector<std::string>& warnings);

}  // namespace kedge::server
