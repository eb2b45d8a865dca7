#include "crypto/jws.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/limits.h"
#include "crypto/openssl.h"
#include "json/parse.h"

namespace kedge::crypto {
namespace {

using parameter_builder = ossl::owner<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free>;
using parameters = ossl::owner<OSSL_PARAM, OSSL_PARAM_free>;
using ecdsa_signature = ossl::owner<ECDSA_SIG, ECDSA_SIG_free>;

struct algorithm {
  std::string_view name;
  const EVP_MD* (*digest)();
  key_algorithm of;
  std::size_t coordinate_bytes = 0;  // EC
  bool pss = false;
};
constexpr algorithm algorithms[] = {{"ES256", EVP_sha256, key_algorithm::ecdsa_p256, 32},
                                    {"ES384", EVP_sha384, key_algorithm::ecdsa_p384, 48},
                                    {"ES512", EVP_sha512, key_algorithm::ecdsa_p521, 66},
                                    {"PS256", EVP_sha256, key_algorithm::rsa, 0, true},
                                    {"PS384", EVP_sha384, key_algorithm::rsa, 0, true},
                                    {"PS512", EVP_sha512, key_algorithm::rsa, 0, true},
                                    {"RS256", EVP_sha256, key_algorithm::rsa},
                                    {"RS384", EVP_sha384, key_algorithm::rsa},
                                    {"RS512", EVP_sha512, key_algorithm::rsa}};

auto bad(std::string why) { return fail(errc::unauthenticated, std::move(why)); }

result<json::value> decode_part(std::string_view part, const char* what) {
  auto text = part.find('=') == std::string_view::npos ? unbase64url(part) : fail(errc::invalid, "padding");
  if (!text) return bad(std::string(what) + " is not base64url");
  auto v = json::parse(*text, {.depth_max = 32});
  if (!v || !v->is_object()) return bad(std::string(what) + " is not a JSON object");
  return v;
}

// JOSE has r and s of fixed width side by side (RFC 7518 §3.4), OpenSSL an ASN.1 sequence of them.
std::string der_of(std::string_view fixed, std::size_t width) {
  const int w = static_cast<int>(width);
  ecdsa_signature s(ECDSA_SIG_new());
  ossl::bignum r(BN_bin2bn(ossl::u8(as_bytes(fixed)), w, nullptr)),
      t(BN_bin2bn(ossl::u8(as_bytes(fixed)) + width, w, nullptr));
  if (!s || !r || !t || !ECDSA_SIG_set0(s.get(), r.get(), t.get())) return {};
  (void)r.release();
  (void)t.release();
  return ossl::to_der(i2d_ECDSA_SIG, s.get());
}

std::optional<public_key> made(const char* type, parameter_builder& parts) {
  parameters all(OSSL_PARAM_BLD_to_param(parts.get()));
  ossl::pkey_context c(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  const bool good = all && c && EVP_PKEY_fromdata_init(c.get()) == 1 &&
                    EVP_PKEY_fromdata(c.get(), &key, EVP_PKEY_PUBLIC_KEY, all.get()) == 1;
  if (!good) {
    (void)ossl::last_error(errc::internal, {});
    return std::nullopt;
  }
  return public_key(std::shared_ptr<evp_pkey_st>(key, EVP_PKEY_free));
}

std::optional<public_key> rsa_key(const json::value& k) {
  auto n = unbase64url(k["n"].as_string()), e = unbase64url(k["e"].as_string());
  if (!n || !e || n->empty() || e->empty() || n->size() > jwk_modulus_max_bytes || e->size() > 8) return std::nullopt;
  ossl::bignum modulus(BN_bin2bn(ossl::u8(as_bytes(*n)), static_cast<int>(n->size()), nullptr));
  ossl::bignum exponent(BN_bin2bn(ossl::u8(as_bytes(*e)), static_cast<int>(e->size()), nullptr));
  parameter_builder parts(OSSL_PARAM_BLD_new());
  if (!modulus || !exponent || !parts ||
      OSSL_PARAM_BLD_push_BN(parts.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(parts.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get()) != 1)
    return std::nullopt;
  return made("RSA", parts);
}

std::optional<public_key> ec_key(const json::value& k) {
  struct curve {
    std::string_view name;
    const char* group;
    std::size_t width;
  };
  constexpr curve curves[] = {{"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};
  auto found = std::ranges::find(curves, k["crv"].as_string(), &curve::name);
  auto x = unbase64url(k["x"].as_string()), y = unbase64url(k["y"].as_string());
  if (found == std::end(curves) || !x || !y || x->size() > found->width || y->size() > found->width)
    return std::nullopt;
  std::string point = "\x04";
  point += std::string(found->width - x->size(), '\0') + *x;
  point += std::string(found->width - y->size(), '\0') + *y;
  parameter_builder parts(OSSL_PARAM_BLD_new());
  if (!parts || OSSL_PARAM_BLD_push_utf8_string(parts.get(), OSSL_PKEY_PARAM_GROUP_NAME, found->group, 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(parts.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) != 1)
    return std::nullopt;
  return made("EC", parts);
}

}  // namespace

result<jws> parse_jws(std::string_view token) {
  if (token.size() > jwt_max_bytes) return bad("the token is too long");
  const auto parts = split(token, '.');
  if (parts.size() != 3) return bad("the token has not three parts");
  KEDGE_TRY(auto header, decode_part(parts[0], "the header"));
  KEDGE_TRY(auto claims, decode_part(parts[1], "the payload"));
  auto signature = unbase64url(parts[2]);
  if (!signature) return bad("the signature is not base64url");
  return jws{std::string(header["alg"].as_string()), std::string(header["kid"].as_string()), std::move(claims),
             std::string(token.substr(0, parts[0].size() + 1 + parts[1].size())), *std::move(signature)};
}

result<std::vector<published_key>> parse_jwks(const json::value& document) {
  auto list = document["keys"].array();
  if (!list) return fail(errc::invalid, "it is no JSON Web Key Set");
  if (list->size() > jwt_keys_max) return fail(errc::too_large, "it has too many keys");
  std::vector<published_key> out;
  for (auto& k : *list) {
    if (auto use = k["use"].as_string(); !use.empty() && use != "sig") continue;
    auto type = k["kty"].as_string();
    auto key = type == "RSA" ? rsa_key(k) : type == "EC" ? ec_key(k) : std::nullopt;
    if (key) out.push_back({std::string(k["kid"].as_string()), std::string(k["alg"].as_string()), *std::move(key)});
  }
  return out;
}

const std::vector<std::string>& jws_algorithms() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (auto& a : algorithms) out.emplace_back(a.name);
    return out;
  }();
  return names;
}

bool is_signed_by(const jws& token, const published_key& key) {
  auto a = std::ranges::find(algorithms, token.algorithm, &algorithm::name);
  if (a == std::end(algorithms) || key.key.algorithm() != a->of) return false;
  if (!key.algorithm.empty() && key.algorithm != token.algorithm) return false;
  if (!token.key_id.empty() && !key.id.empty() && token.key_id != key.id) return false;
  auto signature = token.signature;
  if (a->coordinate_bytes) {
    if (signature.size() != 2 * a->coordinate_bytes) return false;
    signature = der_of(signature, a->coordinate_bytes);
  }
  ossl::digest_context c(EVP_MD_CTX_new());
  EVP_PKEY_CTX* how = nullptr;
  const bool good = c && EVP_DigestVerifyInit(c.get(), &how, a->digest(), nullptr, key.key.native()) == 1 &&
                    (!a->pss || (EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1 &&
                                 EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_AUTO) == 1)) &&
                    EVP_DigestVerify(c.get(), ossl::u8(as_bytes(signature)), signature.size(),
                                     ossl::u8(as_bytes(token.signing_input)), token.signing_input.size()) == 1;
  if (!good) (void)ossl::last_error(errc::internal, {});  // empties the queue
  return good;
}

}  // namespace kedge::crypto
