#include "crypto/jwt.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/digest.h"
#include "crypto/limits.h"
#include "crypto/openssl.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::crypto {

namespace {

using ecdsa_signature = ossl::owner<ECDSA_SIG, ECDSA_SIG_free>;

struct algorithm {
  std::string_view name;
  const EVP_MD* (*digest)();
  std::size_t coordinate_bytes;  // 0 for RSA
  std::string_view curve;
};
constexpr algorithm rs256{"RS256", EVP_sha256, 0, {}};
constexpr algorithm es256{"ES256", EVP_sha256, 32, "P-256"};
constexpr algorithm es384{"ES384", EVP_sha384, 48, "P-384"};
constexpr algorithm es512{"ES512", EVP_sha512, 66, "P-521"};

const algorithm* algorithm_of(const public_key& key) {
  switch (key.algorithm()) {
    case key_algorithm::rsa: return &rs256;
    case key_algorithm::ecdsa_p256: return &es256;
    case key_algorithm::ecdsa_p384: return &es384;
    case key_algorithm::ecdsa_p521: return &es512;
    case key_algorithm::other: break;
  }
  return nullptr;
}

std::unexpected<error> bad_token(std::string why) {
  return fail(errc::unauthenticated, "invalid bearer token: " + why);
}

// JOSE has r and s of fixed width side by side (RFC 7518 §3.4), OpenSSL an ASN.1 sequence of them.
result<std::string> fixed_from_der(std::string_view der, std::size_t width) {
  auto* at = ossl::u8(as_bytes(der));
  ecdsa_signature s(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())));
  std::string out(width * 2, '\0');
  int w = static_cast<int>(width);
  if (!s || BN_bn2binpad(ECDSA_SIG_get0_r(s.get()), ossl::u8(out), w) != w ||
      BN_bn2binpad(ECDSA_SIG_get0_s(s.get()), ossl::u8(out) + width, w) != w)
    return fail(ossl::last_error(errc::internal, "code a signature"));
  return out;
}

std::string der_from_fixed(std::string_view fixed, std::size_t width) {
  int w = static_cast<int>(width);
  ecdsa_signature s(ECDSA_SIG_new());
  ossl::bignum r(BN_bin2bn(ossl::u8(as_bytes(fixed)), w, nullptr)),
      t(BN_bin2bn(ossl::u8(as_bytes(fixed)) + width, w, nullptr));
  if (!s || !r || !t || !ECDSA_SIG_set0(s.get(), r.get(), t.get())) return {};
  (void)r.release();
  (void)t.release();
  return ossl::to_der(i2d_ECDSA_SIG, s.get());
}

result<std::string> sign_text(const private_key& key, const algorithm& a, std::string_view text) {
  ossl::digest_context c(EVP_MD_CTX_new());
  std::size_t n = 0;
  auto* data = ossl::u8(as_bytes(text));
  if (!c || EVP_DigestSignInit(c.get(), nullptr, a.digest(), nullptr, key.native()) != 1 ||
      EVP_DigestSign(c.get(), nullptr, &n, data, text.size()) != 1)
    return fail(ossl::last_error(errc::internal, "sign a token"));
  std::string out(n, '\0');
  if (EVP_DigestSign(c.get(), ossl::u8(out), &n, data, text.size()) != 1)
    return fail(ossl::last_error(errc::internal, "sign a token"));
  out.resize(n);
  return a.coordinate_bytes ? fixed_from_der(out, a.coordinate_bytes) : out;
}

bool is_signature(const public_key& key, const algorithm& a, std::string_view text, std::string_view signature) {
  std::string der;
  if (a.coordinate_bytes) {
    if (signature.size() != a.coordinate_bytes * 2) return false;
    der = der_from_fixed(signature, a.coordinate_bytes);
    signature = der;
  }
  ossl::digest_context c(EVP_MD_CTX_new());
  bool good = c && EVP_DigestVerifyInit(c.get(), nullptr, a.digest(), nullptr, key.native()) == 1 &&
              EVP_DigestVerify(c.get(), ossl::u8(as_bytes(signature)), signature.size(), ossl::u8(as_bytes(text)),
                               text.size()) == 1;
  if (!good) (void)ossl::last_error(errc::internal, {});  // empties the queue
  return good;
}

// header, claims, signature; nullopt when there are not three parts.
std::optional<std::array<std::string_view, 3>> parts_of(std::string_view token) {
  if (token.size() > jwt_max_bytes) return std::nullopt;
  auto a = token.find('.');
  if (a == std::string_view::npos) return std::nullopt;
  auto b = token.find('.', a + 1);
  if (b == std::string_view::npos || token.find('.', b + 1) != std::string_view::npos) return std::nullopt;
  return std::array{token.substr(0, a), token.substr(a + 1, b - a - 1), token.substr(b + 1)};
}

result<json::value> decode_part(std::string_view part, const char* what) {
  // JOSE's base64url has no padding (RFC 7515 §2).
  auto text = part.find('=') == std::string_view::npos ? unbase64url(part) : fail(errc::invalid, "padding");
  if (!text) return bad_token(std::string(what) + " is not base64url");
  auto v = json::parse(*text, {.depth_max = 16});
  if (!v || !v->is_object()) return bad_token(std::string(what) + " is not a JSON object");
  return v;
}

std::string coordinate(const public_key& key, const char* name, std::size_t width) {
  BIGNUM* raw = nullptr;
  if (EVP_PKEY_get_bn_param(key.native(), name, &raw) != 1) return {};
  ossl::bignum n(raw);
  std::string out(width ? width : static_cast<std::size_t>(BN_num_bytes(n.get())), '\0');
  if (BN_bn2binpad(n.get(), ossl::u8(out), static_cast<int>(out.size())) < 0) return {};
  return base64url(as_bytes(out));
}

// What Kubernetes' JOSE library allows servers' clocks to differ.
constexpr double leeway_seconds = 60;

// Seconds since the epoch; Go's NumericDate takes fractions, and floors nothing that matters here.
std::optional<double> time_claim(const json::value& claims, std::string_view name) {
  auto* v = claims.find(name);
  if (!v || !v->is_number()) return std::nullopt;
  return v->as_number();
}

}  // namespace

std::string_view jwt_algorithm(const public_key& key) {
  auto* a = algorithm_of(key);
  return a ? a->name : std::string_view();
}

result<token_signer> token_signer::create(const private_key& key) {
  auto part = key.public_part();
  auto* a = algorithm_of(part);
  if (!a) return fail(errc::unsupported, "service account tokens need an RSA or ECDSA key");
  auto id = part.id();
  json::object header;
  header.set("alg", a->name);
  header.set("kid", id);
  auto coded = base64url(as_bytes(json::write(json::value(std::move(header)))));
  return token_signer(key, std::move(id), std::move(coded));
}

result<std::string> token_signer::sign(const json::value& claims) const {
  auto text = header_ + "." + base64url(as_bytes(json::write(claims)));
  KEDGE_TRY(auto signature, sign_text(key_, *algorithm_of(key_.public_part()), text));
  return text + "." + base64url(as_bytes(signature));
}

result<token_verifier> token_verifier::create(std::span<const public_key> keys) {
  if (keys.size() > jwt_keys_max) return fail(errc::too_large, "more than 64 keys to verify service account tokens");
  token_verifier out;
  for (auto& key : keys)
    if (auto* a = algorithm_of(key)) out.keys_.push_back({key.id(), a->name, key});
  return out;
}

result<json::value> token_verifier::verify(std::string_view token) const {
  auto parts = parts_of(token);
  if (!parts) return bad_token("not of three parts");
  KEDGE_TRY(auto header, decode_part((*parts)[0], "header"));
  // RFC 7515 §4.1.11: extensions that must be understood; we know none.
  if (header.find("crit")) return bad_token("header has critical extensions");
  auto signature = unbase64url((*parts)[2]);
  if (!signature || (*parts)[2].find('=') != std::string_view::npos) return bad_token("signature is not base64url");
  auto text = token.substr(0, (*parts)[0].size() + 1 + (*parts)[1].size());
  auto id = header["kid"].as_string(), name = header["alg"].as_string();
  for (auto& k : keys_) {
    if ((!id.empty() && id != k.key_id) || name != k.algorithm) continue;
    if (is_signature(k.key, *algorithm_of(k.key), text, *signature)) return decode_part((*parts)[1], "claims");
  }
  return bad_token("no key verifies its signature");
}

bool has_issuer(std::string_view token, std::string_view issuer) {
  auto parts = parts_of(token);
  if (!parts) return false;
  auto claims = decode_part((*parts)[1], "claims");
  return claims && (*claims)["iss"].as_string() == issuer;
}

result<void> check_times(const json::value& claims, wall_time now) {
  auto seconds = std::chrono::duration<double>(now.time_since_epoch()).count();
  if (auto* v = claims.find("exp"); v && !v->is_number()) return bad_token("exp is not a number");
  if (auto exp = time_claim(claims, "exp"); exp && seconds - leeway_seconds > *exp)
    return fail(errc::expired, "service account token has expired");
  if (auto nbf = time_claim(claims, "nbf"); nbf && seconds + leeway_seconds < *nbf)
    return bad_token("it is not valid yet");
  if (auto iat = time_claim(claims, "iat"); iat && seconds + leeway_seconds < *iat)
    return bad_token("it was issued in the future");
  return {};
}

std::vector<std::string> common_audiences(const json::value& claims, std::span<const std::string> wanted) {
  auto& aud = claims["aud"];
  auto has = [&](const std::string& name) {
    if (aud.is_string()) return aud.as_string() == name;
    auto* all = aud.array();
    return all &&
           std::any_of(all->begin(), all->end(), [&](auto& v) { return v.is_string() && v.as_string() == name; });
  };
  std::vector<std::string> out;
  for (auto& name : wanted)
    if (has(name)) out.push_back(name);
  return out;
}

result<json::value> jwks(std::span<const public_key> keys) {
  json::array list;
  for (auto& key : keys) {
    auto* a = algorithm_of(key);
    if (!a) continue;
    json::value one;
    one.set("use", "sig");
    one.set("kty", a->coordinate_bytes ? "EC" : "RSA");
    one.set("kid", key.id());
    if (a->coordinate_bytes) one.set("crv", a->curve);
    one.set("alg", a->name);
    auto put = [&](const char* name, std::string text) {
      bool good = !text.empty();
      one.set(name, std::move(text));
      return good;
    };
    bool good = a->coordinate_bytes ? put("x", coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, a->coordinate_bytes)) &&
                                          put("y", coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, a->coordinate_bytes))
                                    : put("n", coordinate(key, OSSL_PKEY_PARAM_RSA_N, 0)) &&
                                          put("e", coordinate(key, OSSL_PKEY_PARAM_RSA_E, 0));
    if (!good) return fail(ossl::last_error(errc::internal, "read a public key's numbers"));
    list.push_back(std::move(one));
  }
  json::value out;
  out.set("keys", std::move(list));
  return out;
}

}  // namespace kedge::crypto
