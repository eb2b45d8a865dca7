#include "crypto/password_hash.h"

#include <openssl/evp.h>

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/digest.h"
#include "crypto/limits.h"
#include "crypto/openssl.h"

namespace kedge::crypto {

namespace {

// K3s's parameters (golang.org/x/crypto/scrypt's advice for interactive use in 2017).
constexpr std::uint64_t default_log_n = 15, default_r = 8, default_p = 1;
constexpr std::size_t default_key_bytes = 64, salt_bytes = 8;
constexpr std::uint64_t log_n_max = 20, r_max = 32, p_max = 8;  // beside the bound on memory, one on time
constexpr std::size_t key_bytes_max = 128, salt_bytes_max = 64;

struct parameters {
  std::string salt;
  std::uint64_t log_n = default_log_n, r = default_r, p = default_p;
  std::size_t key_bytes = default_key_bytes;
};

result<std::string> derive(std::string_view password, const parameters& s) {
  std::string key(s.key_bytes, '\0');
  // OpenSSL counts a little more than the table itself against the limit.
  constexpr auto memory_max = scrypt_memory_max_bytes + (1 << 20);
  if (EVP_PBE_scrypt(password.data(), password.size(), ossl::u8(s.salt), s.salt.size(), std::uint64_t(1) << s.log_n,
                     s.r, s.p, memory_max, ossl::u8(key), key.size()) != 1)
    return fail(ossl::last_error(errc::internal, "scrypt"));
  return key;
}

bool is_bounded(const parameters& s) {
  return s.log_n >= 1 && s.log_n <= log_n_max && s.r >= 1 && s.r <= r_max && s.p >= 1 && s.p <= p_max &&
         (std::uint64_t(128) << s.log_n) * s.r <= scrypt_memory_max_bytes && s.key_bytes >= 16 &&
         s.key_bytes <= key_bytes_max && !s.salt.empty() && s.salt.size() <= salt_bytes_max;
}

}  // namespace

result<std::string> hash_password(std::string_view password, random_source& random) {
  return hash_password(password, random_bytes(random, salt_bytes));
}

result<std::string> hash_password(std::string_view password, std::string_view salt) {
  KEDGE_TRY(auto key, derive(password, {.salt = std::string(salt)}));
  return "$1:" + hex(as_bytes(salt)) + ":15:8:1:" + base64_unpadded(as_bytes(key));
}

result<bool> verify_password(std::string_view password, std::string_view hash) {
  auto fields = split(hash, ':');
  if (fields.size() != 6 || fields[0] != "$1")
    return fail(errc::corrupt, "password hash is not of the form $1:salt:n:r:p:key");
  auto salt = unhex(fields[1]);
  auto log_n = parse_uint(fields[2]), r = parse_uint(fields[3]), p = parse_uint(fields[4]);
  auto wanted = unbase64(fields[5]);
  if (!salt || !log_n || !r || !p || !wanted)
    return fail(errc::corrupt, "password hash has a field that can't be decoded");
  parameters s{std::move(*salt), *log_n, *r, *p, wanted->size()};
  if (!is_bounded(s)) return fail(errc::corrupt, "password hash has parameters out of bounds");
  KEDGE_TRY(auto key, derive(password, s));
  return equal_secret(key, *wanted);
}

}  // namespace kedge::crypto
