// key.h: private and public keys.
//
// Handles to immutable keys: cheap to copy, safe to share between cores. Kedge's own are ECDSA P-256, and RSA-2048
// only for signing service account tokens; pods may ask for the other kinds. It reads and uses whatever else OpenSSL
// knows (a user's own CA).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

struct evp_pkey_st;  // OpenSSL's EVP_PKEY

namespace kedge::crypto {

enum class key_kind : unsigned char { ecdsa_p256, ecdsa_p384, ecdsa_p521, ed25519, rsa_2048, rsa_3072, rsa_4096 };

enum class key_algorithm : unsigned char { rsa, ecdsa_p256, ecdsa_p384, ecdsa_p521, other };

class public_key {
 public:
  // A SubjectPublicKeyInfo (Go's PKIX form).
  static result<public_key> from_der(bytes der);

  std::string der() const;  // SubjectPublicKeyInfo
  std::string pem() const;  // "PUBLIC KEY"
  key_algorithm algorithm() const;
  // base64url(SHA-256(der)): Kubernetes' key id in tokens and JWKS.
  std::string id() const;
  // The first 20 bytes of SHA-256 over the key's bit string (RFC 7093 §2 method 1, which Go took over from SHA-1).
  std::string key_identifier() const;

  friend bool operator==(const public_key& a, const public_key& b);

  evp_pkey_st* native() const { return key_.get(); }
  explicit public_key(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}

 private:
  std::shared_ptr<evp_pkey_st> key_;  // never null
};

class private_key {
 public:
  // RSA takes 50 ms and more (of 4096 bits: seconds): on the offload pool, or at start.
  static result<private_key> generate(key_kind kind);

  // The first private key of the text: "EC PRIVATE KEY" (SEC 1), "RSA PRIVATE KEY" (PKCS#1) or "PRIVATE KEY" (PKCS#8),
  // other blocks ("EC PARAMETERS", certificates) are passed over.
  static result<private_key> from_pem(std::string_view text);

  std::string pem() const;        // in Go's and K3s's form: SEC 1 for EC, PKCS#1 for RSA, else PKCS#8
  std::string pkcs8_pem() const;  // "PRIVATE KEY", whatever its kind
  public_key public_part() const;
  key_algorithm algorithm() const { return public_part().algorithm(); }

  evp_pkey_st* native() const { return key_.get(); }

 private:
  explicit private_key(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}
  friend result<std::vector<private_key>> parse_private_keys(std::string_view);
  std::shared_ptr<evp_pkey_st> key_;  // never null
};

// Every private key of the text in order (service.key keeps the older keys behind the signing one). None:
// errc::invalid.
result<std::vector<private_key>> parse_private_keys(std::string_view text);

// Every key that can verify, as Kubernetes reads --service-account-key-file: public keys (PKIX or PKCS#1), and the
// public parts of private keys and certificates. None: errc::invalid.
result<std::vector<public_key>> parse_public_keys(std::string_view text);

}  // namespace kedge::crypto
