#include "server/instance.h"

#include <cstdint>

#include "crypto/digest.h"

namespace kedge::server {
namespace {

// RFC 4648's base32 in small letters, without padding.
std::string base32(std::string_view data) {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz234567";
  std::string out;
  std::uint64_t bits = 0;
  int held = 0;
  for (unsigned char c : data) {
    bits = bits << 8 | c;
    for (held += 8; held >= 5; held -= 5) out += letters[bits >> (held - 5) & 31];
  }
  if (held > 0) out += letters[bits << (5 - held) & 31];
  return out;
}

}  // namespace

std::string instance_of(std::string_view process) {
  return "apiserver-" + base32(crypto::sha256(as_bytes(process.substr(0, process.rfind('_')))).substr(0, 16));
}

std::string label_hash(std::string_view name) {
  return name.empty() ? std::string() : "sha256:" + crypto::sha256_hex(as_bytes(name));
}

}  // namespace kedge::server
