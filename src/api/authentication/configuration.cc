#include "api/authentication/configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/configuration/fields.h"
#include "api/expressions/composition.h"
#include "api/expressions/identity.h"
#include "base/strings.h"
#include "cel/selects.h"
#include "crypto/jws.h"
#include "meta/validate.h"
#include "net/http/client.h"
#include "net/tls.h"

namespace kedge::api {
namespace {

const std::vector<std::string> versions{"apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1",
                                        "apiserver.config.k8s.io/v1alpha1"};

// What is wrong with the URL of an issuer; empty: nothing.
std::string url_problem(std::string_view url) {
  if (!url.starts_with("https://")) return "URL scheme must be https";
  const auto rest = url.substr(8), authority = rest.substr(0, rest.find('/'));
  if (authority.empty()) return "URL must have a host";
  if (authority.find('@') != std::string_view::npos) return "URL must not contain a username or password";
  if (url.find('?') != std::string_view::npos) return "URL must not contain a query";
  if (url.find('#') != std::string_view::npos) return "URL must not contain a fragment";
  if (auto context = net::tls_client_context::make({.insecure = true}); context)
    if (auto parsed = net::http::parse_url(url, *context); !parsed) return parsed.error().message;
  return {};
}

void check_url(fields& f, std::string_view name, std::string_view url, const std::vector<std::string>& disallowed) {
  if (std::ranges::find(disallowed, url) != disallowed.end())
    f.wrong(name, fmt::format("Invalid value: {}: URL must not overlap with disallowed issuers: [{}]", quote(url),
                              join(disallowed, " ")));
  if (auto why = url_problem(url); !why.empty()) f.wrong(name, fmt::format("Invalid value: {}: {}", quote(url), why));
}

void check_authority(fields& f, std::string_view name, const std::string& pem) {
  if (pem.empty()) return;
  if (auto made = net::tls_client_context::make({.ca_pem = pem}); !made)
    f.wrong(name, fmt::format("Invalid value: \"<omitted>\": {}", made.error().message));
}

std::string_view without_slash(std::string_view url) {
  while (url.ends_with('/')) url.remove_suffix(1);
  return url;
}

void read_audiences(fields& f, jwt_issuer_settings& out) {
  out.audiences = f.texts("audiences");
  const auto policy = f.text("audienceMatchPolicy");
  if (out.audiences.empty()) return f.wrong("audiences", "Required value: at least one audiences is required");
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < out.audiences.size(); ++i) {
    auto& one = out.audiences[i];
    if (one.empty()) f.wrong(fmt::format("audiences[{}]", i), "Required value");
    if (!seen.insert(one).second)
      f.wrong(fmt::format("audiences[{}]", i), fmt::format("Duplicate value: {}", quote(one)));
  }
  if (policy == "MatchAny" || (policy.empty() && out.audiences.size() == 1)) return;
  f.wrong("audienceMatchPolicy", fmt::format("Invalid value: {}: audienceMatchPolicy must be {}", quote(policy),
                                             out.audiences.size() > 1 ? "MatchAny for multiple audiences"
                                                                      : "empty or MatchAny for single audience"));
}

void read_issuer(fields f, jwt_issuer_settings& out, const std::vector<std::string>& disallowed) {
  out.url = f.text("url");
  out.discovery_url = f.text("discoveryURL");
  out.certificate_authority = f.text("certificateAuthority");
  if (out.url.empty())
    f.wrong("url", "Required value");
  else
    check_url(f, "url", out.url, disallowed);
  if (!out.discovery_url.empty()) {
    if (!out.url.empty() && without_slash(out.url) == without_slash(out.discovery_url))
      f.wrong("discoveryURL",
              fmt::format("Invalid value: {}: discoveryURL must be different from URL", quote(out.discovery_url)));
    check_url(f, "discoveryURL", out.discovery_url, {});
  }
  read_audiences(f, out);
  check_authority(f, "certificateAuthority", out.certificate_authority);
  if (f.has("egressSelectorType"))
    f.wrong("egressSelectorType", "Forbidden: Kedge reaches issuers directly; leave it out");
  f.text("egressSelectorType");
  f.done();
}

std::string invalid_value(std::string_view value, std::string_view why) {
  return fmt::format("Invalid value: {}: {}", quote(value), why);
}
std::string duplicate_value(std::string_view value) { return fmt::format("Duplicate value: {}", quote(value)); }

// The expression in this field, compiled; what is wrong with it is a finding. `boolean`: it must give that.
std::shared_ptr<const cel::program> compiled(fields& f, std::string_view name,
                                             const std::shared_ptr<const cel::environment>& within, bool boolean) {
  const auto text = f.text(name);
  auto made = expressions::compile_expression(within, text, {});
  if (!made.program)
    f.wrong(name, invalid_value(text, made.wrong));
  else if (boolean && !(made.program->result_type() == cel::type::boolean()))
    f.wrong(name, invalid_value(text, "must evaluate to bool"));
  else
    return made.program;
  return nullptr;
}

constexpr std::string_view both_set = "claim and expression can't both be set",
                           none_set = "Required value: claim or expression is required";

void read_claim_rules(fields& f, jwt_issuer_settings& out) {
  std::set<std::string> seen;
  for (auto& rule : f.children("claimValidationRules")) {
    const auto claim = rule.text("claim"), value = rule.text("requiredValue"), message = rule.text("message"),
               expression = rule.text("expression");
    rule.done();
    if (claim.empty() && expression.empty()) {
      rule.wrong("", none_set);
    } else if (!claim.empty() && !expression.empty()) {
      rule.wrong("", invalid_value(claim, both_set));
    } else if (!claim.empty()) {
      if (!message.empty()) rule.wrong("message", invalid_value(message, "may not be specified when claim is set"));
      if (!out.required_claims.emplace(claim, value).second) rule.wrong("claim", duplicate_value(claim));
    } else {
      if (!value.empty())
        rule.wrong("requiredValue", invalid_value(value, "may not be specified when expression is set"));
      if (!seen.insert(expression).second)
        rule.wrong("expression", duplicate_value(expression));
      else if (auto holds = compiled(rule, "expression", expressions::claims_environment(), true))
        out.claim_rules.push_back({std::move(holds), message});
    }
  }
}

void read_user_rules(fields& f, jwt_issuer_settings& out) {
  std::set<std::string> seen;
  for (auto& rule : f.children("userValidationRules")) {
    const auto expression = rule.text("expression"), message = rule.text("message");
    rule.done();
    if (expression.empty())
      rule.wrong("expression", "Required value");
    else if (!seen.insert(expression).second)
      rule.wrong("expression", duplicate_value(expression));
    else if (auto holds = compiled(rule, "expression", expressions::user_environment(), true))
      out.user_rules.push_back({std::move(holds), message});
  }
}

claim_mapping read_mapping(fields f, bool needed) {
  claim_mapping out{f.text("claim"), f.text("prefix"), nullptr};
  const auto expression = f.text("expression");
  f.done();
  if (!expression.empty() && !out.claim.empty()) {
    f.wrong("", invalid_value("", both_set));
  } else if (!expression.empty()) {
    if (f.has("prefix")) f.wrong("prefix", invalid_value(out.prefix, "may not be specified when expression is set"));
    out.expression = compiled(f, "expression", expressions::claims_environment(), false);
  } else if (out.claim.empty()) {
    if (needed) f.wrong("", none_set);
  } else if (!f.has("prefix")) {
    f.wrong("prefix",
            "Required value: prefix is required when claim is set. It can be set to an empty string to disable "
            "prefixing");
  }
  return out;
}

claim_mapping read_uid(fields f) {
  claim_mapping out{f.text("claim"), {}, nullptr};
  const auto expression = f.text("expression");
  f.done();
  if (!expression.empty() && !out.claim.empty())
    f.wrong("", invalid_value("", both_set));
  else if (!expression.empty())
    out.expression = compiled(f, "expression", expressions::claims_environment(), false);
  return out;
}

bool is_kubernetes_domain(std::string_view key) {
  const auto domain = key.substr(0, key.find('/'));
  if (domain.size() == key.size()) return false;
  return domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") || domain == "k8s.io" ||
         domain.ends_with(".k8s.io");
}

void read_extra(fields& mappings, jwt_issuer_settings& out) {
  std::set<std::string> seen;
  for (auto& one : mappings.children("extra")) {
    const auto key = one.text("key"), expression = one.text("valueExpression");
    one.done();
    causes problems;
    check_domain_path(problems, key, place("key"));
    for (auto& problem : problems) one.wrong("key", problem.message);
    if (key != lower(key)) one.wrong("key", invalid_value(key, "must be lowercase"));
    if (is_kubernetes_domain(key))
      one.wrong("key",
                invalid_value(key, "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"));
    if (!seen.insert(key).second)
      one.wrong("key", duplicate_value(key));
    else if (expression.empty())
      one.wrong("valueExpression", "Required value");
    else if (auto values = compiled(one, "valueExpression", expressions::claims_environment(), false))
      out.extra.push_back({key, std::move(values)});
  }
}

// Whoever names users by an address that nobody has confirmed lets everybody choose his own name.
void check_email(fields& mappings, const jwt_issuer_settings& read) {
  auto& env = *expressions::claims_environment();
  auto reads = [&](const std::shared_ptr<const cel::program>& p, std::string_view claim) {
    return p && cel::selects(p->text(), env, "claims", claim);
  };
  if (!reads(read.username.expression, "email")) return;
  constexpr std::string_view verified = "email_verified";
  if (reads(read.username.expression, verified) ||
      std::ranges::any_of(read.extra, [&](auto& e) { return reads(e.values, verified); }) ||
      std::ranges::any_of(read.claim_rules, [&](auto& r) { return reads(r.holds, verified); }))
    return;
  mappings.wrong("username.expression",
                 invalid_value(read.username.expression->text(),
                               "claims.email_verified must be used in claimMappings.username.expression or "
                               "claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when "
                               "claims.email is used in claimMappings.username.expression"));
}

jwt_issuer_settings read_authenticator(fields& f, const std::vector<std::string>& disallowed) {
  jwt_issuer_settings out;
  out.algorithms = crypto::jws_algorithms();
  read_issuer(f.child("issuer"), out, disallowed);
  read_claim_rules(f, out);
  auto mappings = f.child("claimMappings");
  out.username = read_mapping(mappings.child("username"), true);
  out.groups = read_mapping(mappings.child("groups"), false);
  out.uid = read_uid(mappings.child("uid"));
  read_extra(mappings, out);
  check_email(mappings, out);
  mappings.done();
  read_user_rules(f, out);
  f.done();
  return out;
}

void read_anonymous(fields f, authentication_configuration& out) {
  anonymous_settings read{.enabled = f.flag("enabled").value_or(false)};
  for (auto& condition : f.children("conditions")) {
    read.paths.push_back(condition.text("path"));
    condition.done();
  }
  if (!read.enabled && !read.paths.empty())
    f.wrong("conditions", "Invalid value: enabled should be set to true when conditions are defined");
  f.done();
  out.anonymous = std::move(read);
}

}  // namespace

bool anonymous_settings::allows(std::string_view path) const noexcept {
  return enabled && (paths.empty() || std::ranges::find(paths, path) != paths.end());
}

result<authentication_configuration> parse_authentication(std::string_view text,
                                                          const std::vector<std::string>& disallowed) {
  KEDGE_TRY(auto document, read_document(text, "AuthenticationConfiguration", versions));
  findings found;
  fields f(document, "", found);
  f.text("apiVersion");
  f.text("kind");
  authentication_configuration out;
  std::set<std::string> issuers, discoveries;
  for (auto& one : f.children("jwt")) {
    out.issuers.push_back(read_authenticator(one, disallowed));
    auto& read = out.issuers.back();
    if (!issuers.insert(read.url).second) one.wrong("issuer.url", fmt::format("Duplicate value: {}", quote(read.url)));
    if (!read.discovery_url.empty() && !discoveries.insert(read.discovery_url).second)
      one.wrong("issuer.discoveryURL", fmt::format("Duplicate value: {}", quote(read.discovery_url)));
  }
  constexpr std::size_t issuers_max = 64;  // kube-apiserver's
  if (out.issuers.size() > issuers_max)
    f.wrong("jwt", fmt::format("Too many: {}: must have at most 64 items", out.issuers.size()));
  if (f.has("anonymous")) read_anonymous(f.child("anonymous"), out);
  f.done();
  // Strict, as kube-apiserver reads this kind: a mapping that was misspelt would let somebody else in.
  found.wrong.insert(found.wrong.end(), found.unknown.begin(), found.unknown.end());
  KEDGE_CHECK(found.verdict());
  return out;
}

result<jwt_issuer_settings> issuer_of_flags(const oidc_flags& flags, const std::vector<std::string>& disallowed) {
  auto wrong = [](std::string_view flag, std::string_view what) {
    return fail(errc::invalid, fmt::format("--kube-apiserver-arg=oidc-{}: {}", flag, what));
  };
  if (flags.issuer_url.empty() || flags.client_id.empty())
    return wrong("issuer-url",
                 "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags "
                 "are set");
  jwt_issuer_settings out;
  out.url = flags.issuer_url;
  out.audiences = {flags.client_id};
  out.certificate_authority = flags.certificate_authority;
  if (std::ranges::find(disallowed, out.url) != disallowed.end())
    return wrong("issuer-url", fmt::format("{} issues this server's own tokens", quote(out.url)));
  if (auto why = url_problem(out.url); !why.empty())
    return wrong("issuer-url", fmt::format("{}: {}", quote(out.url), why));
  if (!out.certificate_authority.empty())
    if (auto made = net::tls_client_context::make({.ca_pem = out.certificate_authority}); !made)
      return wrong("ca-file", made.error().message);
  for (auto& name : flags.algorithms)
    if (std::ranges::find(crypto::jws_algorithms(), name) == crypto::jws_algorithms().end())
      return wrong("signing-algs", fmt::format("oidc: unsupported signing alg: {}", quote(name)));
  out.algorithms = flags.algorithms;
  out.username.claim = flags.username_claim;
  // Without a prefix of its own, a name gets the issuer's, but for an e-mail address; "-" is none.
  out.username.prefix = flags.username_prefix == "-"      ? std::string()
                        : !flags.username_prefix.empty()  ? flags.username_prefix
                        : flags.username_claim != "email" ? flags.issuer_url + "#"
                                                          : std::string();
  out.groups = {flags.groups_claim, flags.groups_prefix, nullptr};
  for (auto& pair : flags.required_claims) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos) return wrong("required-claim", fmt::format("{} is no name=value", quote(pair)));
    out.required_claims.emplace(pair.substr(0, equals), pair.substr(equals + 1));
  }
  return out;
}

}  // namespace kedge::api
