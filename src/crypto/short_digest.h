// short_digest.h: a text's SHA-256 as the key of a table in memory.
#pragma once

#include "crypto/digest.h"

namespace kedge::crypto {

// 15 bytes, which a std::string holds in itself: for tables that would otherwise keep long texts only to compare them.
// 120 bits aren't met twice, whoever chooses the texts.
inline std::string short_sha256(std::string_view text) { return sha256(as_bytes(text)).substr(0, 15); }

}  // namespace kedge::crypto
