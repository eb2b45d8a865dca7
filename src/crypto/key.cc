#include "crypto/key.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <optional>

#include "base/assert.h"
#include "base/strings.h"
#include "crypto/digest.h"
#include "crypto/openssl.h"
#include "crypto/pem.h"

namespace kedge::crypto {

namespace {

std::shared_ptr<EVP_PKEY> share(EVP_PKEY* key) { return {key, EVP_PKEY_free}; }

EVP_PKEY* decode_private(const pem_block& block) {
  auto* at = ossl::u8(block.der);
  auto size = static_cast<long>(block.der.size());
  if (block.type == "EC PRIVATE KEY") return d2i_PrivateKey(EVP_PKEY_EC, nullptr, &at, size);
  if (block.type == "RSA PRIVATE KEY") return d2i_PrivateKey(EVP_PKEY_RSA, nullptr, &at, size);
  return d2i_AutoPrivateKey(nullptr, &at, size);
}

EVP_PKEY* make_key(key_kind kind) {
  switch (kind) {
    case key_kind::ecdsa_p256: return EVP_EC_gen("P-256");
    case key_kind::ecdsa_p384: return EVP_EC_gen("P-384");
    case key_kind::ecdsa_p521: return EVP_EC_gen("P-521");
    case key_kind::ed25519: return EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    case key_kind::rsa_2048: return EVP_RSA_gen(2048);
    case key_kind::rsa_3072: return EVP_RSA_gen(3072);
    case key_kind::rsa_4096: return EVP_RSA_gen(4096);
  }
  return nullptr;
}

bool is_private(const pem_block& block) {
  return block.type == "EC PRIVATE KEY" || block.type == "RSA PRIVATE KEY" || block.type == "PRIVATE KEY";
}

// The key in a block that has a public part; null when it has none or doesn't parse.
EVP_PKEY* decode_public(const pem_block& block) {
  auto* at = ossl::u8(block.der);
  auto size = static_cast<long>(block.der.size());
  if (is_private(block)) return decode_private(block);
  if (block.type == "PUBLIC KEY") return d2i_PUBKEY(nullptr, &at, size);
  if (block.type == "RSA PUBLIC KEY") return d2i_PublicKey(EVP_PKEY_RSA, nullptr, &at, size);
  if (block.type == "CERTIFICATE") {
    ossl::x509 certificate(d2i_X509(nullptr, &at, size));
    return certificate ? X509_get_pubkey(certificate.get()) : nullptr;
  }
  return nullptr;
}

}  // namespace

result<public_key> public_key::from_der(bytes der) {
  auto* at = ossl::u8(der);
  auto* key = d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size()));
  if (!key) return fail(ossl::last_error(errc::invalid, "public key can't be parsed"));
  return public_key(share(key));
}

std::string public_key::der() const {
  auto out = ossl::to_der(i2d_PUBKEY, native());
  kedge_assert(!out.empty());
  return out;
}

std::string public_key::pem() const { return write_pem("PUBLIC KEY", as_bytes(der())); }

key_algorithm public_key::algorithm() const {
  if (EVP_PKEY_is_a(native(), "RSA")) return key_algorithm::rsa;
  if (!EVP_PKEY_is_a(native(), "EC")) return key_algorithm::other;
  char name[64];
  std::size_t n = 0;
  if (!EVP_PKEY_get_utf8_string_param(native(), OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof name, &n))
    return key_algorithm::other;
  std::string_view group(name, n);
  if (group == "prime256v1" || group == "P-256") return key_algorithm::ecdsa_p256;
  if (group == "secp384r1" || group == "P-384") return key_algorithm::ecdsa_p384;
  if (group == "secp521r1" || group == "P-521") return key_algorithm::ecdsa_p521;
  return key_algorithm::other;
}

std::string public_key::id() const { return base64url(as_bytes(sha256(as_bytes(der())))); }

std::string public_key::key_identifier() const {
  const auto whole = der();
  auto* at = ossl::u8(whole);
  auto* info = d2i_X509_PUBKEY(nullptr, &at, static_cast<long>(whole.size()));
  kedge_assert(info);
  const unsigned char* bits = nullptr;
  int n = 0;
  X509_PUBKEY_get0_param(nullptr, &bits, &n, nullptr, info);
  auto out = sha256(std::as_bytes(std::span(bits, static_cast<std::size_t>(n)))).substr(0, 20);
  X509_PUBKEY_free(info);
  return out;
}

bool operator==(const public_key& a, const public_key& b) { return EVP_PKEY_eq(a.native(), b.native()) == 1; }

result<private_key> private_key::generate(key_kind kind) {
  auto* key = make_key(kind);
  if (!key) return fail(ossl::last_error(errc::internal, "generate a private key"));
  return private_key(share(key));
}

result<private_key> private_key::from_pem(std::string_view text) {
  KEDGE_TRY(auto keys, parse_private_keys(text));
  return std::move(keys.front());
}

std::string private_key::pem() const {
  auto der = ossl::to_der(i2d_PrivateKey, native());  // the type's own form where it has one
  kedge_assert(!der.empty());
  auto type = EVP_PKEY_is_a(native(), "EC")    ? "EC PRIVATE KEY"
              : EVP_PKEY_is_a(native(), "RSA") ? "RSA PRIVATE KEY"
                                               : "PRIVATE KEY";
  return write_pem(type, as_bytes(der));
}

std::string private_key::pkcs8_pem() const {
  ossl::owner<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free> info(EVP_PKEY2PKCS8(native()));
  kedge_assert(info);
  auto der = ossl::to_der(i2d_PKCS8_PRIV_KEY_INFO, info.get());
  kedge_assert(!der.empty());
  return write_pem("PRIVATE KEY", as_bytes(der));
}

public_key private_key::public_part() const { return public_key(key_); }

result<std::vector<private_key>> parse_private_keys(std::string_view text) {
  KEDGE_TRY(auto blocks, parse_pem(text));
  std::vector<private_key> out;
  for (auto& block : blocks) {
    if (!is_private(block)) continue;
    auto* key = decode_private(block);
    OPENSSL_cleanse(block.der.data(), block.der.size());
    if (!key) return fail(ossl::last_error(errc::invalid, block.type + " can't be parsed"));
    out.push_back(private_key(share(key)));
  }
  if (out.empty()) return fail(errc::invalid, "no private key found in the PEM text");
  return out;
}

result<std::vector<public_key>> parse_public_keys(std::string_view text) {
  KEDGE_TRY(auto blocks, parse_pem(text));
  std::vector<public_key> out;
  for (auto& block : blocks) {
    if (auto* key = decode_public(block)) out.push_back(public_key(share(key)));
    OPENSSL_cleanse(block.der.data(), block.der.size());
  }
  if (out.empty()) return fail(ossl::last_error(errc::invalid, "no public key found in the PEM text"));
  return out;
}

}  // namespace kedge::crypto
