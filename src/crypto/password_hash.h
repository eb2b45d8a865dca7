// password_hash.h: node passwords as they are kept in `<node>.node-password.k3s` secrets.
//
//   $1:<salt, 16 hex digits>:15:8:1:<base64 without padding>      version, salt, log2 N, r, p, scrypt's 64 bytes
//
// scrypt with these parameters takes 32 MiB of memory and some 50 ms: call both functions on the offload pool, never on
// a reactor.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/random.h"

namespace kedge::crypto {

result<std::string> hash_password(std::string_view password, random_source& random);
// With a given salt of 8 bytes.
result<std::string> hash_password(std::string_view password, std::string_view salt);

// Whether the password is the one that was hashed; constant-time. errc::corrupt when the text is no hash of this form,
// or asks for more work than scrypt_memory_max_bytes allows.
result<bool> verify_password(std::string_view password, std::string_view hash);

}  // namespace kedge::crypto
