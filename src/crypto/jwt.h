// jwt.h: service account tokens (RFC 7515 compact form) and the JWKS document of the keys that verify them.
//
// Only signatures and claims are looked at here; whether the service account and what the token is bound to still exist
// is the API's question.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "crypto/key.h"
#include "json/value.h"

namespace kedge::crypto {

// "RS256", "ES256", "ES384" or "ES512", as the key demands; empty for a key that signs no tokens.
std::string_view jwt_algorithm(const public_key& key);

class token_signer {
 public:
  // errc::unsupported for a key that signs no tokens.
  static result<token_signer> create(const private_key& key);
  const std::string& key_id() const { return key_id_; }
  // About 1 ms with RSA-2048, 0.1 ms with P-256: fine on a reactor at the rate tokens are asked for.
  result<std::string> sign(const json::value& claims) const;

 private:
  token_signer(private_key key, std::string key_id, std::string header)
      : key_(std::move(key)), key_id_(std::move(key_id)), header_(std::move(header)) {}
  private_key key_;
  std::string key_id_;
  std::string header_;  // coded
};

class token_verifier {
 public:
  // Keys that sign no tokens are left out; errc::too_large beyond jwt_keys_max.
  static result<token_verifier> create(std::span<const public_key> keys);

  // The claims when a key signed the token: the one that `kid` names, or any when the token names none. `alg` must be
  // the key's own, so a public key is never taken for an HMAC secret. errc::unauthenticated otherwise; the message is
  // for the log, clients are told "invalid bearer token".
  result<json::value> verify(std::string_view token) const;

 private:
  struct entry {
    std::string key_id;
    std::string_view algorithm;  // a literal
    public_key key;
  };
  std::vector<entry> keys_;
};

// Whether the token is worth a signature check at all: three parts, and the issuer claim is ours. Nothing is verified.
bool has_issuer(std::string_view token, std::string_view issuer);

// exp, nbf and iat against now; with the minute of leeway that Kubernetes gives; a token without exp is a legacy one
// that never ends. errc::expired or errc::unauthenticated.
result<void> check_times(const json::value& claims, wall_time now);

// The wanted audiences that the token has too, in wanted order; empty means it isn't for us. `aud` may be a text or a
// list.
std::vector<std::string> common_audiences(const json::value& claims, std::span<const std::string> wanted);

// {"keys":[{"use":"sig","kty":"RSA","kid":…,"alg":"RS256","n":…,"e":"AQAB"}]}; EC keys have crv, x and y.
result<json::value> jwks(std::span<const public_key> keys);

}  // namespace kedge::crypto
