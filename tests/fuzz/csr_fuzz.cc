// csr_fuzz.cc: what peers send as requests and certificates, raw and in PEM.
#include <span>

#include "crypto/certificate.h"
#include "crypto/pem.h"
#include "crypto/request.h"

#include "base/assert.h"
#include "base/bytes.h"

using namespace kedge;
using namespace kedge::crypto;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto raw = std::as_bytes(std::span(data, size));
  if (auto key = public_key_of_request(raw)) {
    (void)key->algorithm();
    (void)key->id();
    (void)key->key_identifier();
  }
  // The same bytes as a PEM block, so that a mutated structure reaches the readers behind it.
  (void)parse_request(request_pem(raw));
  (void)parse_request(as_text(raw));
  if (auto c = certificate::from_der(raw)) {
    kedge_assert(parse_bundle(c->pem()).value().front() == *c);
    (void)c->fingerprint_sha256();
  }
  if (auto blocks = parse_pem(as_text(raw)))
    for (auto& b : *blocks) {
      auto again = parse_pem(write_pem(b.type, as_bytes(b.der)));
      kedge_assert(again && again->size() == 1 && again->front().der == b.der);
    }
  (void)parse_bundle(as_text(raw));
  (void)parse_public_keys(as_text(raw));
  return 0;
}
