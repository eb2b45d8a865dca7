// openssl.h: owners for OpenSSL's types, and its error queue as an error. Private to this folder.
#pragma once

#include <openssl/asn1.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"

namespace kedge::crypto::ossl {

template <auto Free>
struct deleter {
  template <typename T>
  void operator()(T* p) const noexcept {
    Free(p);
  }
};
template <typename T, auto Free>
using owner = std::unique_ptr<T, deleter<Free>>;

inline void free_extensions(STACK_OF(X509_EXTENSION) * s) { sk_X509_EXTENSION_pop_free(s, X509_EXTENSION_free); }
inline void free_borrowed_certificates(STACK_OF(X509) * s) { sk_X509_free(s); }

using bignum = owner<BIGNUM, BN_free>;
using cipher_context = owner<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;
using digest_context = owner<EVP_MD_CTX, EVP_MD_CTX_free>;
using pkey_context = owner<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using pkey = owner<EVP_PKEY, EVP_PKEY_free>;
using x509 = owner<X509, X509_free>;
using x509_request = owner<X509_REQ, X509_REQ_free>;
using x509_store = owner<X509_STORE, X509_STORE_free>;
using x509_store_context = owner<X509_STORE_CTX, X509_STORE_CTX_free>;
using x509_name = owner<X509_NAME, X509_NAME_free>;
using general_names = owner<GENERAL_NAMES, GENERAL_NAMES_free>;
using general_name = owner<GENERAL_NAME, GENERAL_NAME_free>;
using octets = owner<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free>;
using bit_string = owner<ASN1_BIT_STRING, ASN1_BIT_STRING_free>;
using key_usages = owner<EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free>;
using constraints = owner<BASIC_CONSTRAINTS, BASIC_CONSTRAINTS_free>;
using authority_id = owner<AUTHORITY_KEYID, AUTHORITY_KEYID_free>;
using extension_stack = owner<STACK_OF(X509_EXTENSION), free_extensions>;
// A stack whose certificates belong to somebody else.
using certificate_stack = owner<STACK_OF(X509), free_borrowed_certificates>;

// What OpenSSL last complained of, behind `context` and ": "; empties the queue.
error last_error(errc code, std::string_view context);

inline const unsigned char* u8(bytes b) { return reinterpret_cast<const unsigned char*>(b.data()); }
inline const unsigned char* u8(const std::string& s) { return reinterpret_cast<const unsigned char*>(s.data()); }
inline unsigned char* u8(std::string& s) { return reinterpret_cast<unsigned char*>(s.data()); }

// The DER of anything with an i2d function; empty when encoding fails.
template <typename T, typename Encode>
std::string to_der(Encode encode, T* object) {
  unsigned char* raw = nullptr;
  int n = encode(object, &raw);
  if (n <= 0) return {};
  std::string out(reinterpret_cast<char*>(raw), static_cast<std::size_t>(n));
  OPENSSL_clear_free(raw, static_cast<std::size_t>(n));
  return out;
}

}  // namespace kedge::crypto::ossl
