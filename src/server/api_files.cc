#include "server/api_files.h"

#include <fmt/format.h>

#include <algorithm>

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

result<void> read_issuers(const api_server_arguments& a, const std::string& own_issuer, api_files& out) {
  if (!a.authentication_config.empty()) {
    KEDGE_TRY(out.authentication_text, api::read_configuration_file("authentication-config", a.authentication_config));
    auto read = api::parse_authentication(out.authentication_text, token_issuers(a, own_issuer));
    if (!read)
      return fail(std::move(read).error().with(
          fmt::format("--kube-apiserver-arg=authentication-config={}: ", a.authentication_config)));
    out.authentication = *std::move(read);
    if (out.authentication.anonymous && a.anonymous_auth_given)
      return fail(errc::invalid,
                  "--kube-apiserver-arg=anonymous-auth: cannot be set when the file of authentication-config has a "
                  "field `anonymous`");
    return {};
  }
  if (!a.oidc_given) return {};
  api::oidc_flags flags{.issuer_url = a.oidc_issuer_url,
                        .client_id = a.oidc_client_id,
                        .certificate_authority = {},
                        .username_claim = a.oidc_username_claim,
                        .username_prefix = a.oidc_username_prefix,
                        .groups_claim = a.oidc_groups_claim,
                        .groups_prefix = a.oidc_groups_prefix,
                        .algorithms = a.oidc_signing_algs,
                        .required_claims = a.oidc_required_claims};
  if (!a.oidc_ca_file.empty()) {
    KEDGE_TRY(flags.certificate_authority, api::read_configuration_file("oidc-ca-file", a.oidc_ca_file));
  }
  KEDGE_TRY(auto issuer, api::issuer_of_flags(flags, token_issuers(a, own_issuer)));
  out.authentication.issuers.push_back(std::move(issuer));
  return {};
}

result<void> read_tokens(const api_server_arguments& a, const std::string& own_issuer, api_files& out,
                         std::vector<std::string>& warnings) {
  if (!a.token_auth_file.empty()) {
    KEDGE_TRY(auto text, api::read_configuration_file("token-auth-file", a.token_auth_file));
    const auto where = fmt::format("--kube-apiserver-arg=token-auth-file={}: ", a.token_auth_file);
    std::vector<std::string> passed_over;
    auto tokens = api::token_file::parse(text, passed_over);
    if (!tokens) return fail(std::move(tokens).error().with(where));
    for (auto& one : passed_over) warnings.push_back(where + one);
    out.tokens = *std::move(tokens);
    out.tokens->for_audiences(token_audiences(a, own_issuer));
  }
  if (!a.token_webhook_config_file.empty()) {
    KEDGE_TRY(out.token_webhook,
              api::read_kubeconfig("authentication-token-webhook-config-file", a.token_webhook_config_file));
  }
  return {};
}

result<void> read_authorizers(const api_server_arguments& a, api_files& out) {
  if (!a.authorization_config.empty()) {
    KEDGE_TRY(out.authorization_text, api::read_configuration_file("authorization-config", a.authorization_config));
    auto read = api::parse_authorization(out.authorization_text);
    if (!read)
      return fail(std::move(read).error().with(
          fmt::format("--kube-apiserver-arg=authorization-config={}: ", a.authorization_config)));
    out.authorization = *std::move(read);
    return {};
  }
  if (a.authorization_mode.empty() && a.authorization_webhook_config_file.empty()) {
    out.authorization = usual_authorization();
    return {};
  }
  api::authorization_webhook_settings webhook{.server = nullptr,
                                              .version = a.authorization_webhook_version,
                                              .authorized_ttl = a.authorization_webhook_authorized_ttl,
                                              .unauthorized_ttl = a.authorization_webhook_unauthorized_ttl};
  webhook.keeps_authorized = webhook.authorized_ttl > duration::zero();
  webhook.keeps_unauthorized = webhook.unauthorized_ttl > duration::zero();
  if (!a.authorization_webhook_config_file.empty()) {
    KEDGE_TRY(webhook.server,
              api::read_kubeconfig("authorization-webhook-config-file", a.authorization_webhook_config_file));
    if (std::ranges::find(a.authorization_mode, "Webhook") == a.authorization_mode.end())
      return fail(errc::invalid,
                  "--kube-apiserver-arg=authorization-webhook-config-file: cannot be specified without mode Webhook");
  }
  auto modes = api::authorization_of_modes(a.authorization_mode, webhook);
  if (!modes) return fail(std::move(modes).error().with("--kube-apiserver-arg=authorization-mode: "));
  out.authorization = *std::move(modes);
  return {};
}

result<void> read_encryption(const api_server_arguments& a, api_files& out) {
  auto& path = a.encryption_provider_config;
  if (path.empty()) return {};
  KEDGE_TRY(out.encryption_text, api::read_configuration_file("encryption-provider-config", path));
  auto read = api::encryption::parse_encryption(out.encryption_text);
  if (!read)
    return fail(
        std::move(read).error().with(fmt::format("--kube-apiserver-arg=encryption-provider-config={}: ", path)));
  out.encryption = *std::move(read);
  return {};
}

result<void> read_tracing(const api_server_arguments& a, api_files& out) {
  auto& path = a.tracing_config_file;
  if (path.empty()) return {};
  KEDGE_TRY(auto text, api::read_configuration_file("tracing-config-file", path));
  auto read = api::tracing::parse_configuration(text);
  if (!read)
    return fail(std::move(read).error().with(fmt::format("--kube-apiserver-arg=tracing-config-file={}: ", path)));
  out.tracing = *std::move(read);
  return {};
}

result<void> read_admission(const api_server_arguments& a, api_files& out) {
  auto& path = a.admission_config_file;
  if (path.empty()) return api::check_configured(out.admission, a.enable_admission_plugins);
  KEDGE_TRY(auto text, api::read_configuration_file("admission-control-config-file", path));
  const auto where = fmt::format("--kube-apiserver-arg=admission-control-config-file={}: ", path);
  const auto slash = path.rfind('/');
  auto read = api::parse_admission(text, slash == std::string::npos ? std::string() : path.substr(0, slash));
  if (!read) return fail(std::move(read).error().with(where));
  out.admission = *std::move(read);
  return api::check_configured(out.admission, a.enable_admission_plugins);
}

}  // namespace

api::authorization_configuration usual_authorization() {
  return {{api::authorizer_type::node, "node", {}}, {api::authorizer_type::rbac, "rbac", {}}};
}

std::vector<std::string> token_issuers(const api_server_arguments& arguments, const std::string& own) {
  auto out = arguments.service_account_issuers;
  if (out.empty()) return {own};
  for (auto& issuer : out)
    if (issuer.empty()) issuer = own;
  return out;
}

std::vector<std::string> token_audiences(const api_server_arguments& arguments, const std::string& own) {
  if (!arguments.api_audiences.empty()) return arguments.api_audiences;
  return {own, "k3s"};
}

result<std::shared_ptr<const api_files>> read_api_files(const api_server_arguments& arguments,
                                                        const std::string& own_issuer,
                                                        std::vector<std::string>& warnings) {
  auto out = std::make_shared<api_files>();
  std::optional<error> wrong;
  for (auto& read :
       {read_audit(arguments, *out, warnings), read_issuers(arguments, own_issuer, *out),
        read_admission(arguments, *out), read_authorizers(arguments, *out), read_encryption(arguments, *out),
        read_tracing(arguments, *out), read_tokens(arguments, own_issuer, *out, warnings)}) {
    if (read) continue;
    if (wrong)
      wrong->message += "\n" + read.error().message;
    else
      wrong = read.error();
  }
  if (wrong) return fail(*std::move(wrong));
  return out;
}

}  // namespace kedge::server
