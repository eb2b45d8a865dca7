// configuration.h: whose tokens count, and who is who: apiserver.config.k8s.io AuthenticationConfiguration, or the
// oidc-… flags, which say the same of one issuer.
//
// Immutable once it is read, and shared by all cores.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cel/program.h"

namespace kedge::api {

// A claim with what is put in front of its value, or an expression over the claims.
struct claim_mapping {
  std::string claim, prefix;                       // no claim:
  std::shared_ptr<const cel::program> expression;  // null, too: not mapped
};

// What must hold of the claims, or of the user that they make.
struct claim_rule {
  std::shared_ptr<const cel::program> holds;
  std::string message;
};

struct extra_mapping {
  std::string key;
  std::shared_ptr<const cel::program> values;
};

struct jwt_issuer_settings {
  std::string url;
  std::string discovery_url;          // empty: the well-known one below `url`
  std::string certificate_authority;  // PEM; empty: the system's
  std::vector<std::string> audiences;
  std::vector<std::string> algorithms;  // that signatures may have
  claim_mapping username, groups, uid;
  std::vector<extra_mapping> extra;
  std::map<std::string, std::string> required_claims;
  std::vector<claim_rule> claim_rules, user_rules;
};

struct anonymous_settings {
  bool enabled = false;
  std::vector<std::string> paths;  // where alone; empty: everywhere
  bool allows(std::string_view path) const noexcept;
};

struct authentication_configuration {
  std::vector<jwt_issuer_settings> issuers;
  std::optional<anonymous_settings> anonymous;  // nullopt: as the flag says
};

// `disallowed`: issuers of service account tokens, which no other may be. An error names all that is wrong, by path.
result<authentication_configuration> parse_authentication(std::string_view text,
                                                          const std::vector<std::string>& disallowed);

struct oidc_flags {
  std::string issuer_url, client_id, certificate_authority, username_claim = "sub", username_prefix, groups_claim,
                                                            groups_prefix;
  std::vector<std::string> algorithms{"RS256"}, required_claims;  // name=value
};
// errc::invalid names the flag.
result<jwt_issuer_settings> issuer_of_flags(const oidc_flags& flags, const std::vector<std::string>& disallowed);

}  // namespace kedge::api
