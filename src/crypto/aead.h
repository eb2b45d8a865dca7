// aead.h: the ciphers of records at rest, with the nonce in front of what they make.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::crypto {

inline constexpr std::size_t gcm_nonce_bytes = 12;
inline constexpr std::size_t cbc_vector_bytes = 16;
inline constexpr std::size_t secretbox_nonce_bytes = 24;

// AES-GCM with a key of 16, 24 or 32 bytes: nonce || ciphertext || tag of 16 bytes. Never twice the same nonce for a
// key.
result<std::string> gcm_seal(std::string_view key, std::string_view nonce, std::string_view plain,
                             std::string_view associated);
result<std::string> gcm_open(std::string_view key, std::string_view sealed, std::string_view associated);

// AES-CBC with PKCS#7 padding and a key of 16, 24 or 32 bytes: vector || ciphertext. Not authenticated.
result<std::string> cbc_seal(std::string_view key, std::string_view vector, std::string_view plain);
result<std::string> cbc_open(std::string_view key, std::string_view sealed);

// NaCl's secretbox (XSalsa20-Poly1305) with a key of 32 bytes: nonce || box.
result<std::string> secretbox_seal(std::string_view key, std::string_view nonce, std::string_view plain);
result<std::string> secretbox_open(std::string_view key, std::string_view sealed);

// Opening fails with errc::unauthenticated when the key is another or the text was changed, errc::corrupt when it is
// too short to be one.

}  // namespace kedge::crypto
