// quick_crypto.cc: what OpenSSL takes from the machine, or takes long for, in a simulated cluster's place.
//
// Randomness from the seed: keys, signatures and so the lengths of messages are the same in each run of it. And scrypt,
// whose purpose is to take 50 ms and 32 MiB, as a plain hash: its symbol here is found before the library's. Nor are
// the authorities read that the machine trusts, some hundred of them: a fifth of a seed's time, and nobody needs them.
#include "quick_crypto.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "base/random.h"

namespace {

kedge::random_source* source = nullptr;

int give(unsigned char* out, int n) {
  source->fill({reinterpret_cast<std::byte*>(out), static_cast<std::size_t>(n)});
  return 1;
}
int always() { return 1; }

[[maybe_unused]] const bool trusts_nobody =
    ::setenv("SSL_CERT_FILE", "/dev/null", 1) == 0 && ::setenv("SSL_CERT_DIR", "/dev/null", 1) == 0;

}  // namespace

namespace kedge::sim {

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
seeded_openssl::seeded_openssl(random_source& from) {
  static const RAND_METHOD method{nullptr, give, nullptr, nullptr, give, always};
  source = &from;
  RAND_set_rand_method(&method);
}
seeded_openssl::~seeded_openssl() {
  RAND_set_rand_method(nullptr);
  source = nullptr;
}
#pragma clang diagnostic pop

}  // namespace kedge::sim

extern "C" int EVP_PBE_scrypt(const char* password, std::size_t password_bytes, const unsigned char* salt,
                              std::size_t salt_bytes, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                              unsigned char* key, std::size_t key_bytes) {
  return PKCS5_PBKDF2_HMAC(password, static_cast<int>(password_bytes), salt, static_cast<int>(salt_bytes), 1,
                           EVP_sha256(), static_cast<int>(key_bytes), key);
}
