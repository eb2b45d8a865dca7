// jws.h: signed tokens of others (RFC 7515 compact form), and the keys that their issuers publish (RFC 7517).
//
// Beside jwt.h, which is about our own: here the algorithm is the token's to name, out of those that are allowed, and a
// key may say that it is for one alone.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/key.h"
#include "json/value.h"

namespace kedge::crypto {

struct jws {
  std::string algorithm, key_id;  // as the header says; the id may be empty
  json::value claims;             // not to be trusted before is_signed_by()
  std::string signing_input, signature;
};

// errc::unauthenticated for what is no such token.
result<jws> parse_jws(std::string_view token);

struct published_key {
  std::string id, algorithm;  // each may be empty: any
  public_key key;
};

// The signing keys of a JWKS document that this program knows: RSA and EC. Others are left out; errc::invalid when it
// is no such document, errc::too_large beyond jwt_keys_max keys.
result<std::vector<published_key>> parse_jwks(const json::value& document);

// RS256 to RS512, PS256 to PS512, ES256 to ES512.
const std::vector<std::string>& jws_algorithms();

bool is_signed_by(const jws& token, const published_key& key);

}  // namespace kedge::crypto
