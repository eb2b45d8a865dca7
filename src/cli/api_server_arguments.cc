// api_server_arguments.cc: --kube-apiserver-arg, as far as Kedge knows kube-apiserver's own flags. They have a table of
// their own, with the same grammar for values.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <variant>

#include "base/strings.h"
#include "cli/options_load.h"

namespace kedge::cli {
namespace {

// An argument that may be given again and again; its values are no lists.
struct repeated {
  std::vector<std::string> api_server_arguments::* field;
};

using target = std::variant<repeated, bool api_server_arguments::*, std::string api_server_arguments::*,
                            unsigned api_server_arguments::*, duration api_server_arguments::*,
                            std::vector<std::string> api_server_arguments::*>;

struct argument {
  std::string_view name;
  target into;
  std::string_view unread = {};  // why it has no effect yet; whoever reads the field takes this away
};

const argument table[] = {
    {"disable-admission-plugins", &api_server_arguments::disable_admission_plugins},
    {"enable-admission-plugins", &api_server_arguments::enable_admission_plugins},
    {"tls-min-version", &api_server_arguments::tls_min_version},
    {"event-ttl", &api_server_arguments::event_ttl, "Kedge keeps events for an hour"},
    {"anonymous-auth", &api_server_arguments::anonymous_auth},
    {"audit-policy-file", &api_server_arguments::audit_policy_file},
    {"audit-log-path", &api_server_arguments::audit_log_path},
    {"audit-log-maxsize", &api_server_arguments::audit_log_max_size_mib},
    {"audit-log-maxbackup", &api_server_arguments::audit_log_max_backups},
    {"audit-log-maxage", &api_server_arguments::audit_log_max_age_days},
    {"audit-log-format", &api_server_arguments::audit_log_format},
    {"audit-log-mode", &api_server_arguments::audit_log_mode},
    {"audit-log-compress", &api_server_arguments::audit_log_compress},
    {"audit-log-batch-buffer-size", &api_server_arguments::audit_log_buffer_events},
    {"audit-log-truncate-enabled", &api_server_arguments::audit_log_truncate},
    {"audit-log-truncate-max-event-size", &api_server_arguments::audit_log_event_max_bytes},
    {"audit-log-version", &api_server_arguments::audit_version},
    {"audit-webhook-config-file", &api_server_arguments::audit_webhook_config_file},
    {"audit-webhook-mode", &api_server_arguments::audit_webhook_mode},
    {"audit-webhook-initial-backoff", &api_server_arguments::audit_webhook_initial_backoff},
    {"audit-webhook-batch-buffer-size", &api_server_arguments::audit_webhook_buffer_events},
    {"audit-webhook-batch-max-size", &api_server_arguments::audit_webhook_batch_events},
    {"audit-webhook-batch-max-wait", &api_server_arguments::audit_webhook_batch_wait},
    {"audit-webhook-batch-throttle-enable", &api_server_arguments::audit_webhook_throttle},
    {"audit-webhook-batch-throttle-qps", &api_server_arguments::audit_webhook_throttle_qps},
    {"audit-webhook-batch-throttle-burst", &api_server_arguments::audit_webhook_throttle_burst},
    {"audit-webhook-truncate-enabled", &api_server_arguments::audit_webhook_truncate},
    {"audit-webhook-truncate-max-event-size", &api_server_arguments::audit_webhook_event_max_bytes},
    {"audit-webhook-truncate-max-batch-size", &api_server_arguments::audit_webhook_batch_max_bytes},
    {"audit-webhook-version", &api_server_arguments::audit_version},
    {"authentication-config", &api_server_arguments::authentication_config},
    {"oidc-issuer-url", &api_server_arguments::oidc_issuer_url},
    {"oidc-client-id", &api_server_arguments::oidc_client_id},
    {"oidc-ca-file", &api_server_arguments::oidc_ca_file},
    {"oidc-username-claim", &api_server_arguments::oidc_username_claim},
    {"oidc-username-prefix", &api_server_arguments::oidc_username_prefix},
    {"oidc-groups-claim", &api_server_arguments::oidc_groups_claim},
    {"oidc-groups-prefix", &api_server_arguments::oidc_groups_prefix},
    {"oidc-signing-algs", &api_server_arguments::oidc_signing_algs},
    {"oidc-required-claim", repeated{&api_server_arguments::oidc_required_claims}},
    {"token-auth-file", &api_server_arguments::token_auth_file},
    {"authentication-token-webhook-config-file", &api_server_arguments::token_webhook_config_file},
    {"authentication-token-webhook-version", &api_server_arguments::token_webhook_version},
    {"authentication-token-webhook-cache-ttl", &api_server_arguments::token_webhook_cache_ttl},
    {"service-account-issuer", repeated{&api_server_arguments::service_account_issuers}},
    {"api-audiences", &api_server_arguments::api_audiences},
    {"service-account-jwks-uri", &api_server_arguments::service_account_jwks_uri},
    {"service-account-max-token-expiration", &api_server_arguments::service_account_max_token_expiration},
    {"service-account-extend-token-expiration", &api_server_arguments::service_account_extend_token_expiration},
    {"admission-control-config-file", &api_server_arguments::admission_config_file},
    {"authorization-config", &api_server_arguments::authorization_config},
    {"authorization-mode", &api_server_arguments::authorization_mode},
    {"authorization-webhook-config-file", &api_server_arguments::authorization_webhook_config_file},
    {"authorization-webhook-version", &api_server_arguments::authorization_webhook_version},
    {"authorization-webhook-cache-authorized-ttl", &api_server_arguments::authorization_webhook_authorized_ttl},
    {"authorization-webhook-cache-unauthorized-ttl", &api_server_arguments::authorization_webhook_unauthorized_ttl},
    {"encryption-provider-config", &api_server_arguments::encryption_provider_config},
    {"encryption-provider-config-automatic-reload", &api_server_arguments::encryption_provider_config_automatic_reload},
    {"tracing-config-file", &api_server_arguments::tracing_config_file},
    {"max-requests-inflight", &api_server_arguments::max_requests_inflight},
    {"max-mutating-requests-inflight", &api_server_arguments::max_mutating_requests_inflight},
    {"request-timeout", &api_server_arguments::request_timeout},
};

enum class operation : unsigned char { replace, append, prepend };

struct setter {
  std::string_view text;
  operation op;
  api_server_arguments& into;

  result<void> operator()(repeated r) const {
    auto& list = into.*r.field;
    // What stands there without the argument is the empty text.
    if (op == operation::append && list.empty()) list.emplace_back();
    list.insert(op == operation::prepend ? list.begin() : list.end(), std::string(text));
    if (op == operation::prepend && list.size() == 1) list.emplace_back();
    return {};
  }
  result<void> operator()(bool api_server_arguments::* field) const {
    const auto value = parse_bool(text);
    if (!value) return fail(errc::invalid, "is neither true nor false");
    into.*field = *value;
    return {};
  }
  result<void> operator()(std::string api_server_arguments::* field) const {
    into.*field = text;
    return {};
  }
  result<void> operator()(unsigned api_server_arguments::* field) const {
    const auto value = parse_uint(text);
    if (!value || *value > std::numeric_limits<unsigned>::max()) return fail(errc::invalid, "is not a whole number");
    into.*field = static_cast<unsigned>(*value);
    return {};
  }
  result<void> operator()(duration api_server_arguments::* field) const {
    const auto value = parse_duration(text);
    if (!value || *value < duration::zero()) return fail(errc::invalid, "is not a duration such as 1h30m");
    into.*field = *value;
    return {};
  }
  result<void> operator()(std::vector<std::string> api_server_arguments::* field) const {
    auto& list = into.*field;
    if (op == operation::replace) list.clear();
    auto at = op == operation::prepend ? list.begin() : list.end();
    for (auto part : split(text, ','))
      if (auto name = trim(part); !name.empty()) at = std::next(list.emplace(at, name));
    return {};
  }
};

result<void> one_of(std::string_view name, std::string_view given, std::initializer_list<std::string_view> allowed) {
  if (std::ranges::find(allowed, given) != allowed.end()) return {};
  std::string all;
  for (auto word : allowed) all += (all.empty() ? "" : ", ") + std::string(word);
  return fail(errc::invalid, fmt::format("--kube-apiserver-arg={}: {} is none of {}", name, quote(given), all));
}

result<void> check_audit(const api_server_arguments& a) {
  const auto modes = {std::string_view("batch"), std::string_view("blocking"), std::string_view("blocking-strict")};
  KEDGE_CHECK(one_of("audit-log-format", a.audit_log_format, {"json", "legacy"}));
  KEDGE_CHECK(one_of("audit-log-mode", a.audit_log_mode, modes));
  KEDGE_CHECK(one_of("audit-webhook-mode", a.audit_webhook_mode, modes));
  for (auto [name, value] : {std::pair("audit-log-batch-buffer-size", a.audit_log_buffer_events),
                             std::pair("audit-log-truncate-max-event-size", a.audit_log_event_max_bytes),
                             std::pair("audit-webhook-batch-buffer-size", a.audit_webhook_buffer_events),
                             std::pair("audit-webhook-batch-max-size", a.audit_webhook_batch_events),
                             std::pair("audit-webhook-batch-throttle-qps", a.audit_webhook_throttle_qps),
                             std::pair("audit-webhook-batch-throttle-burst", a.audit_webhook_throttle_burst),
                             std::pair("audit-webhook-truncate-max-event-size", a.audit_webhook_event_max_bytes)})
    if (value == 0) return fail(errc::invalid, fmt::format("--kube-apiserver-arg={}=0: must be positive", name));
  if (a.audit_webhook_batch_max_bytes < a.audit_webhook_event_max_bytes)
    return fail(errc::invalid,
                "--kube-apiserver-arg=audit-webhook-truncate-max-batch-size: must not be less than "
                "audit-webhook-truncate-max-event-size");
  return {};
}

constexpr duration shortest_token_life = std::chrono::hours(1), longest_token_life = std::chrono::hours(1LL << 20);

result<void> check_tokens(const api_server_arguments& a) {
  KEDGE_CHECK(one_of("authorization-webhook-version", a.authorization_webhook_version, {"v1", "v1beta1"}));
  if (!a.authorization_config.empty() &&
      (!a.authorization_mode.empty() || !a.authorization_webhook_config_file.empty()))
    return fail(errc::invalid,
                "--kube-apiserver-arg=authorization-config: can not be specified together with authorization-mode or "
                "authorization-webhook-* flags");
  KEDGE_CHECK(one_of("authentication-token-webhook-version", a.token_webhook_version, {"v1", "v1beta1"}));
  const auto longest = a.service_account_max_token_expiration;
  if (longest != duration::zero() && (longest < shortest_token_life || longest > longest_token_life))
    return fail(errc::invalid,
                "--kube-apiserver-arg=service-account-max-token-expiration: must be between 1 hour and 2^32 seconds");
  if (!a.service_account_jwks_uri.empty() && !a.service_account_jwks_uri.starts_with("https://"))
    return fail(errc::invalid, fmt::format("--kube-apiserver-arg=service-account-jwks-uri: {} requires https scheme",
                                           quote(a.service_account_jwks_uri)));
  if (a.encryption_provider_config.empty() && a.encryption_provider_config_automatic_reload)
    return fail(errc::invalid,
                "--kube-apiserver-arg=encryption-provider-config-automatic-reload must be set with "
                "encryption-provider-config");
  if (a.oidc_given && !a.authentication_config.empty())
    return fail(errc::invalid,
                "--kube-apiserver-arg: authentication-config file and oidc-* flags are mutually exclusive");
  for (std::size_t i = 0; i < a.service_account_issuers.size(); ++i)
    if (std::ranges::count(a.service_account_issuers, a.service_account_issuers[i]) > 1)
      return fail(errc::invalid, fmt::format("--kube-apiserver-arg=service-account-issuer: {} is already specified",
                                             quote(a.service_account_issuers[i])));
  return {};
}

}  // namespace

result<api_server_arguments> read_api_server_arguments(std::span<const std::string> arguments,
                                                       std::vector<std::string>& warnings) {
  api_server_arguments read;
  for (std::string_view text : arguments) {
    std::string_view given = text;
    while (given.starts_with('-')) given.remove_prefix(1);  // `--kube-apiserver-arg=--event-ttl=2h` works with K3s
    const auto equals = given.find('=');
    auto name = given.substr(0, equals);
    const auto value = equals == std::string_view::npos ? std::string_view("true") : given.substr(equals + 1);
    operation op = operation::replace;
    if (name.ends_with('+')) op = operation::append;
    if (name.ends_with('-')) op = operation::prepend;
    if (op != operation::replace) name.remove_suffix(1);

    const auto known =
        std::find_if(std::begin(table), std::end(table), [&](const argument& a) { return a.name == name; });
    if (known == std::end(table)) {
      warnings.push_back(fmt::format("--kube-apiserver-arg={} has no effect: Kedge does not know this setting", name));
      continue;
    }
    if (auto set = std::visit(setter{value, op, read}, known->into); !set)
      return fail(errc::invalid,
                  fmt::format("--kube-apiserver-arg={}: {} {}", name, quote(value), set.error().message));
    if (name.starts_with("oidc-")) read.oidc_given = true;
    if (name == "anonymous-auth") read.anonymous_auth_given = true;
    if (!known->unread.empty())
      warnings.push_back(fmt::format("--kube-apiserver-arg={} has no effect: {}", name, known->unread));
  }
  if (read.tls_min_version != "VersionTLS12" && read.tls_min_version != "VersionTLS13")
    return fail(errc::invalid,
                fmt::format("--kube-apiserver-arg=tls-min-version: {} is neither VersionTLS12 nor VersionTLS13",
                            quote(read.tls_min_version)));
  if (read.max_requests_inflight == 0 && read.max_mutating_requests_inflight == 0)
    return fail(errc::invalid,
                "--kube-apiserver-arg=max-requests-inflight=0 and max-mutating-requests-inflight=0: they must add up "
                "to something positive");
  KEDGE_CHECK(check_audit(read));
  KEDGE_CHECK(check_tokens(read));
  return read;
}

}  // namespace kedge::cli
