#include "crypto/digest.h"

#include <doctest/doctest.h>

#include "base/strings.h"

using namespace kedge;
using namespace kedge::crypto;

TEST_CASE("digests are those of FIPS 180") {
  CHECK(hex(as_bytes(sha1(as_bytes("abc")))) == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(sha256_hex(as_bytes("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(hex(as_bytes(sha512(as_bytes("abc")))).starts_with("ddaf35a193617abacc417349ae204131"));
}

TEST_CASE("HMAC is RFC 2202's and RFC 4231's, and an empty key is a key") {
  CHECK(hex(as_bytes(hmac_sha1(as_bytes("Jefe"), as_bytes("what do ya want for nothing?")))) ==
        "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
  CHECK(hex(as_bytes(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?")))) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(hex(as_bytes(hmac_sha256({}, {}))) == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST_CASE("random bytes come from the source that is given") {
  seeded_random a(7), b(7);
  auto one = random_bytes(a, 24);
  CHECK(one.size() == 24);
  CHECK(one == random_bytes(b, 24));
  CHECK(one != random_bytes(a, 24));
}

TEST_CASE("secrets of different lengths compare") {
  CHECK(equal_by_digest("secret", "secret"));
  CHECK(!equal_by_digest("secret", "secret "));
  CHECK(equal_by_digest("", ""));
}
