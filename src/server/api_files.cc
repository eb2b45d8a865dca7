#include "server/api_files.h"

#include <fmt/format.h>

#include "api/configuration/fields.h"

namespace kedge::server {
namespace {

result<void> read_audit(const api_server_arguments& a, api_files& out, std::vector<std::string>& warnings) {
  if (a.audit_policy_file.empty()) {
    if (!a.audit_log_path.empty() || !a.audit_webhook_config_file.empty())
      warnings.emplace_back(
          "--kube-apiserver-arg=audit-log-path and audit-webhook-config-file have no effect without audit-policy-file: "
          "as with kube-apiserver, nothing is recorded");
    return {};
  }
  if (a.audit_version != "audit.k8s.io/v1")
    return fail(
        errc::invalid,
        "--kube-apiserver-arg=audit-log-version and audit-webhook-version: there is no other than audit.k8s.io/v1");
  KEDGE_TRY(auto text, api::read_configuration_file("audit-policy-file", a.audit_policy_file));
  std::vector<std::string> unknown;
  auto policy = api::audit_policy::parse(text, unknown);
  const auto where = fmt::format("--kube-apiserver-arg=audit-policy-file={}: ", a.audit_policy_file);
  if (!policy) return fail(std::move(policy).error().with(where));
  for (auto& one : unknown) warnings.push_back(where + one);
  out.audit_policy = *std::move(policy);
  if (a.audit_log_path.empty() && a.audit_webhook_config_file.empty())
    warnings.push_back(where + "there is neither an audit-log-path nor an audit-webhook-config-file to record to");
  if (!a.audit_webhook_config_file.empty()) {
    KEDGE_TRY(out.audit_webhook, api::read_kubeconfig("audit-webhook-config-file", a.audit_webhook_config_file));
  }
  return {};
}

}  // namespace

result<std::shared_ptr<const api_files>> read_api_files(const api_server_arguments& arguments,
                                                        std::vector<std::string>& warnings) {
  auto out = std::make_shared<api_files>();
  KEDGE_CHECK(read_audit(arguments, *out, warnings));
  return out;
}

}  // namespace kedge::server
