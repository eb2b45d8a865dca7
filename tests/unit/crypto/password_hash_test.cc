#include "crypto/password_hash.h"

#include <doctest/doctest.h>

#include "base/bytes.h"
#include "base/strings.h"

using namespace kedge;
using namespace kedge::crypto;

TEST_CASE("a node password's hash is K3s's") {
  std::string_view salt("\0\1\2\3\4\5\6\7", 8);
  auto h = hash_password("0123456789abcdef0123456789abcdef", salt).value();
  CHECK(h ==
        "$1:0001020304050607:15:8:1:HLE8J14CCCbzk09wlp3mpFzp+VYtwpOo9fvgeCuGWs9dv48cuQRRDacFx+hZcdkDMpQm4DrP59P/"
        "LQRom0NqgQ");
  CHECK(verify_password("0123456789abcdef0123456789abcdef", h).value());
  CHECK(!verify_password("0123456789abcdef0123456789abcdeg", h).value());
  seeded_random random(3);
  auto a = hash_password("x", random).value(), b = hash_password("x", random).value();
  CHECK(a != b);
  CHECK(verify_password("x", b).value());
}

TEST_CASE("other parameters of RFC 7914 are followed within bounds") {
  // RFC 7914 §12, second vector: N=1024, r=8, p=16 is beyond our p; the third, N=16384, r=8, p=1.
  auto key = unhex(
                 "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
                 "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887")
                 .value();
  auto stored = "$1:" + hex(as_bytes("SodiumChloride")) + ":14:8:1:" + base64_unpadded(as_bytes(key));
  CHECK(verify_password("pleaseletmein", stored).value());
  CHECK(!verify_password("pleaseletmeout", stored).value());
}

TEST_CASE("hashes that are none, or cost too much, are refused before any work") {
  auto key = std::string(86, 'A');
  for (auto text :
       {std::string(), std::string("x"), "$2:00:15:8:1:" + key, "$1:0g:15:8:1:" + key, "$1:00:40:8:1:" + key,
        "$1:00:17:8:1:" + key, "$1:00:15:64:1:" + key, "$1:00:15:8:99:" + key, "$1:00:0:8:1:" + key,
        "$1:00:15:0:1:" + key, "$1:00:15:8:0:" + key, "$1::15:8:1:" + key, std::string("$1:00:15:8:1:"),
        "$1:00:15:8:1:" + std::string(400, 'A'), "$1:00:-1:8:1:" + key, "$1:00:15:8:1:" + key + ":x"}) {
    CAPTURE(text);
    CHECK(verify_password("x", text).error().code == errc::corrupt);
  }
}
