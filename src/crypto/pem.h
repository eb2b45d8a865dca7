// pem.h: the text form of keys and certificates (RFC 7468), read as Go's encoding/pem reads it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace kedge::crypto {

struct pem_block {
  std::string type;  // "CERTIFICATE", "EC PRIVATE KEY", …
  std::string der;
};

// Every well-formed block in order; text between blocks and malformed blocks are skipped, as Go does. An encrypted
// block (with Proc-Type headers) is given as it stands. errc::too_large beyond the folder's limits.
result<std::vector<pem_block>> parse_pem(std::string_view text);

// One block with lines of 64 characters and a newline at the end: byte for byte what Go and OpenSSL write.
std::string write_pem(std::string_view type, bytes der);

}  // namespace kedge::crypto
