// jwt_fuzz.cc: bearer tokens. Nothing that the fuzzer can make is signed by the key, so nothing may verify.
#include "crypto/jwt.h"

#include <span>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"

using namespace kedge;
using namespace kedge::crypto;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto verifier = [] {
    auto key = private_key::generate(key_kind::ecdsa_p256).value();
    return token_verifier::create(std::vector{key.public_part()}).value();
  }();
  auto text = as_text(std::as_bytes(std::span(data, size)));
  kedge_assert(!verifier.verify(text));
  (void)has_issuer(text, "https://kubernetes.default.svc.cluster.local");
  return 0;
}
