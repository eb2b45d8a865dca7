// tokens.h: bearer tokens: service account tokens (issued and checked here), and bootstrap tokens of kube-system
// secrets.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/request/user.h"
#include "base/strings.h"
#include "base/time.h"
#include "crypto/jwt.h"
#include "meta/status.h"
#include "store/store.h"

namespace kedge::api {

struct token_settings {
  std::vector<std::string> issuers{
      "https://kubernetes.default.svc.cluster.local"};  // all are accepted, the first issues
  std::vector<std::string> api_audiences{"https://kubernetes.default.svc.cluster.local",
                                         "k3s"};  // K3s's --api-audiences
  std::vector<crypto::public_key> keys;           // any of them verifies
  bool bootstrap_tokens = true;
};

// Who a token speaks for, and which of the wanted audiences it is for.
struct token_identity {
  user_ref user;  // without system:authenticated
  std::vector<std::string> audiences;
};

// What a service account's token is, each time that it is found good: of those that tell when they should have been
// replaced, whether that has passed; or one that lies in a Secret.
enum class token_use : unsigned char { valid, stale, legacy };

// An instance belongs to one core.
class token_authenticator {
 public:
  static result<token_authenticator> create(token_settings settings);

  // `wanted` empty: the API's own audiences. errc::unauthenticated for every token that isn't good now; the message is
  // for the log and for the review's error, and holds nothing of the token.
  result<token_identity> verify(std::string_view token, std::span<const std::string> wanted,
                                const store::snapshot& cluster, wall_time now);

  // The same for a request to the API itself. `fingerprint` is the token's: who sees the same one again and again keeps
  // it.
  result<user_ref> identify(std::string_view token, std::string_view fingerprint, const store::snapshot& cluster,
                            wall_time now);
  static std::string fingerprint_of(std::string_view token);

  // Other keys verify from now on.
  result<void> use(std::vector<crypto::public_key> keys);

  const token_settings& settings() const noexcept { return settings_; }

  // Told of each use.
  void count_by(std::function<void(token_use)> told) { told_ = std::move(told); }

 private:
  token_authenticator(token_settings s, crypto::token_verifier v) : settings_(std::move(s)), verifier_(std::move(v)) {}
  result<token_identity> verify_bootstrap(std::string_view token, const store::snapshot& cluster, wall_time now) const;
  result<token_identity> verify_service_account(std::string_view token, std::span<const std::string> wanted,
                                                const store::snapshot& cluster, wall_time now);

  // What a token says, kept so that its signature is checked once; and the versions of the objects it hangs on when
  // they were last found good, so that they are parsed again only when they changed.
  struct checked {
    json::value claims;
    std::string account_key, bound_key,
        node_key;  // of the objects; empty: not bound to one (account_key: not looked at yet)
    store::revision account = 0, bound = 0, node = 0;
    std::optional<wall_time> good_until;  // set while an object that it hangs on is being deleted
    bool for_api = false;                 // one of its audiences is the API's
    std::int64_t warn_after = 0;          // when it should have been replaced; 0: it doesn't tell
    bool legacy = false;
    user_ref user;
  };
  using checked_tokens = std::unordered_map<std::string, checked, string_hash, std::equal_to<>>;  // by the fingerprint
  // The token's entry, once its signature and its times are good; its objects are not looked at yet.
  result<checked_tokens::value_type*> find_checked(std::string_view token, std::string_view fingerprint, wall_time now);
  std::vector<std::string> audiences_of(const checked& c, std::span<const std::string> wanted) const;
  static result<void> find_keys(checked& c);
  result<void> check_objects(const std::string& fingerprint, checked& c, const store::snapshot& cluster,
                             wall_time now) const;

  token_settings settings_;
  crypto::token_verifier verifier_;
  checked_tokens checked_;
  std::function<void(token_use)> told_;
  void note_use(const checked& c, wall_time now) const;
};

// What a token is bound to, beside its service account.
struct token_binding {
  std::string pod, pod_uid, node, node_uid, secret, secret_uid;
};

class token_issuer {
 public:
  static result<token_issuer> create(const crypto::private_key& key, std::string issuer,
                                     std::vector<std::string> api_audiences);

  struct request {
    std::string ns, account, account_uid;
    std::vector<std::string> audiences;
    std::int64_t seconds = 0;
    std::int64_t warn_after_seconds = 0;  // 0: no warnafter claim
    token_binding bound;
  };
  result<std::string> issue(const request& r, wall_time now, random_source& random) const;
  const std::vector<std::string>& api_audiences() const noexcept { return api_audiences_; }

 private:
  token_issuer(crypto::token_signer signer, std::string issuer, std::vector<std::string> audiences)
      : signer_(std::move(signer)), issuer_(std::move(issuer)), api_audiences_(std::move(audiences)) {}
  crypto::token_signer signer_;
  std::string issuer_;
  std::vector<std::string> api_audiences_;
};

// The documents by which others verify our tokens: /.well-known/openid-configuration (application/json) and
// /openid/v1/jwks (application/jwk-set+json), both with `Cache-Control: public, max-age=3600`. `external` is how
// clients reach the server ("https://10.0.0.1:6443"); K3s's jwks_uri names its advertised address.
// `jwks_uri`: what is told instead; empty: this server's.
std::string oidc_configuration(const token_settings& settings, std::string_view external,
                               std::string_view jwks_uri = {});
result<std::string> oidc_keys(const token_settings& settings);

}  // namespace kedge::api
