#include "crypto/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <memory>

#include "base/assert.h"
#include "base/strings.h"
#include "crypto/openssl.h"

namespace kedge::crypto {

namespace {

// Fetched once: EVP_sha256() and its like look their implementation up at each use, which takes as long as a kilobyte's
// digest.
const EVP_MD* fetched(const char* name) {
  auto* kind = EVP_MD_fetch(nullptr, name, nullptr);
  kedge_assert(kind != nullptr);
  return kind;
}
const EVP_MD* sha256_kind() {
  static const auto* kind = fetched("SHA256");
  return kind;
}

std::string digest(const EVP_MD* kind, bytes data) {
  struct drop {
    void operator()(EVP_MD_CTX* c) const noexcept { EVP_MD_CTX_free(c); }
  };
  thread_local std::unique_ptr<EVP_MD_CTX, drop> context(EVP_MD_CTX_new());
  std::string out(static_cast<std::size_t>(EVP_MD_get_size(kind)), '\0');
  unsigned n = 0;
  // Fails only without memory or without the default provider: nothing could run then.
  bool ok = context && EVP_DigestInit_ex2(context.get(), kind, nullptr) == 1 &&
            EVP_DigestUpdate(context.get(), data.data(), data.size()) == 1 &&
            EVP_DigestFinal_ex(context.get(), ossl::u8(out), &n) == 1;
  kedge_assert(ok && n == out.size());
  // Initialised for its next use, so that nothing of what may be secret stays.
  EVP_MD_CTX_reset(context.get());
  return out;
}

std::string hmac(const EVP_MD* kind, bytes key, bytes data) {
  std::string out(static_cast<std::size_t>(EVP_MD_get_size(kind)), '\0');
  unsigned n = 0;
  // A null key means "the previous one" to HMAC(): an empty key needs an address of its own.
  static constexpr unsigned char empty = 0;
  auto* k = key.empty() ? &empty : ossl::u8(key);
  kedge_assert(HMAC(kind, k, static_cast<int>(key.size()), ossl::u8(data), data.size(), ossl::u8(out), &n) &&
               n == out.size());
  return out;
}

}  // namespace

std::string sha1(bytes data) { return digest(EVP_sha1(), data); }
std::string sha256(bytes data) { return digest(sha256_kind(), data); }
std::string sha512(bytes data) { return digest(EVP_sha512(), data); }
std::string sha256_hex(bytes data) { return hex(as_bytes(sha256(data))); }

std::string hmac_sha1(bytes key, bytes data) { return hmac(EVP_sha1(), key, data); }
std::string hmac_sha256(bytes key, bytes data) { return hmac(EVP_sha256(), key, data); }

std::string random_bytes(random_source& random, std::size_t count) {
  std::string out(count, '\0');
  random.fill({reinterpret_cast<std::byte*>(out.data()), out.size()});
  return out;
}

bool equal_by_digest(std::string_view a, std::string_view b) {
  return equal_secret(sha256(as_bytes(a)), sha256(as_bytes(b)));
}

}  // namespace kedge::crypto
