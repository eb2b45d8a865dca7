// digest.h: hashes, HMAC and random bytes. All give raw bytes; may be called from every thread.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/random.h"

namespace kedge::crypto {

std::string sha1(bytes data);        // 20 bytes; only where a format asks for it (fingerprints)
std::string sha256(bytes data);      // 32 bytes
std::string sha512(bytes data);      // 64 bytes
std::string sha256_hex(bytes data);  // 64 lower-case hexadecimal digits

std::string hmac_sha1(bytes key, bytes data);
std::string hmac_sha256(bytes key, bytes data);

std::string random_bytes(random_source& random, std::size_t count);

// Whether two secrets of any length are equal, in a time that depends on neither's content nor on where they differ:
// it compares SHA-256 digests.
bool equal_by_digest(std::string_view a, std::string_view b);

}  // namespace kedge::crypto
