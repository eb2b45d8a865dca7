#include "crypto/key.h"

#include <doctest/doctest.h>

#include "base/strings.h"
#include "crypto/pem.h"
#include "crypto/request.h"
#include "workbench.h"

using namespace kedge;
using namespace kedge::crypto;

TEST_CASE("PEM blocks are found as Go finds them") {
  auto block = write_pem("THING", as_bytes("content"));
  CHECK(block == "-----BEGIN THING-----\nY29udGVudA==\n-----END THING-----\n");
  struct {
    std::string text;
    std::size_t count;
  } rows[] = {
      {"", 0},
      {"words", 0},
      {block, 1},
      {"words before\n" + block + "between\n" + block, 2},
      {"-----BEGIN THING-----\r\nY29udGVudA==\r\n-----END THING-----\r\n", 1},
      {"-----BEGIN THING-----\nName: value\n\nY29udGVudA==\n-----END THING-----", 1},
      {"-----BEGIN THING-----\n-----END THING-----\n", 1},
      {"-----BEGIN THING-----\nY29\n" + block, 1},                        // cut off: the next one counts
      {"-----BEGIN THING-----\n!!!!\n-----END THING-----\n" + block, 1},  // malformed: skipped
      {"-----BEGIN THING-----\nY29udGVudA\n-----END THING-----\n", 0},    // no padding
      {"-----BEGIN THING-----\nY29udGVudA==\n-----END OTHER-----\n", 0},
      {" -----BEGIN THING-----\nY29udGVudA==\n-----END THING-----\n", 0},  // not at the line's start
      {"-----BEGIN THING-----\nY29udGVudA==", 0},
  };
  for (auto& r : rows) {
    CAPTURE(r.text);
    auto blocks = parse_pem(r.text).value();
    CHECK(blocks.size() == r.count);
    for (auto& b : blocks) CHECK((b.type == "THING" && (b.der == "content" || b.der.empty())));
  }
  CHECK(parse_pem(std::string((1 << 20) + 1, 'x')).error().code == errc::too_large);
}

TEST_CASE("long PEM content has lines of 64 characters") {
  auto text = write_pem("X", as_bytes(std::string(100, 'a')));
  auto lines = split(text, '\n');
  CHECK(lines[1].size() == 64);
  CHECK(lines[2].size() == 64);
  CHECK(parse_pem(text).value().front().der == std::string(100, 'a'));
}

TEST_CASE("keys are written in Go's forms and read by the openssl command") {
  workbench w;
  struct {
    key_kind kind;
    const char* label;
    key_algorithm algorithm;
  } rows[] = {{key_kind::ecdsa_p256, "EC PRIVATE KEY", key_algorithm::ecdsa_p256},
              {key_kind::rsa_2048, "RSA PRIVATE KEY", key_algorithm::rsa}};
  for (auto& r : rows) {
    CAPTURE(r.label);
    auto key = private_key::generate(r.kind).value();
    auto pem = key.pem();
    CHECK(pem.starts_with("-----BEGIN " + std::string(r.label) + "-----\n"));
    CHECK(key.algorithm() == r.algorithm);
    auto again = private_key::from_pem(pem).value();
    CHECK(again.pem() == pem);
    CHECK(again.public_part() == key.public_part());
    w.put("key", pem);
    auto theirs = w.run("openssl pkey -in key -pubout");
    CHECK(theirs.good);
    CHECK(theirs.text == key.public_part().pem());
    // PKCS#8 is read too, and comes back in the type's own form.
    auto pkcs8 = w.run("openssl pkcs8 -topk8 -nocrypt -in key");
    CHECK(private_key::from_pem(pkcs8.text).value().pem() == pem);
  }
}

TEST_CASE("keys of every kind come back from PKCS#8, and sign requests") {
  workbench w;
  for (auto kind : {key_kind::ecdsa_p256, key_kind::ecdsa_p384, key_kind::ecdsa_p521, key_kind::ed25519,
                    key_kind::rsa_2048, key_kind::rsa_3072}) {
    CAPTURE(static_cast<int>(kind));
    auto key = private_key::generate(kind).value();
    auto pem = key.pkcs8_pem();
    CHECK(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    CHECK(private_key::from_pem(pem).value().public_part() == key.public_part());
    w.put("key", pem);
    w.put("request", request_pem(as_bytes(make_request(key).value())));
    CHECK(w.run("openssl pkey -in key -pubout").text == key.public_part().pem());
    CHECK(w.run("openssl req -in request -verify -noout").good);
  }
}

TEST_CASE("the key identifiers are the cut SHA-256 of the bits and base64url SHA-256 of the DER") {
  workbench w;
  auto key = private_key::generate(key_kind::ecdsa_p256).value();
  w.put("key", key.pem());
  auto bits = w.run("openssl pkey -in key -pubout -outform DER | tail -c 65 | openssl sha256 -r");
  CHECK(bits.text.starts_with(hex(as_bytes(key.public_part().key_identifier()))));
  auto der = w.run(
      "openssl pkey -in key -pubout -outform DER | openssl sha256 -binary | base64 -w0 | tr '+/' '-_' | tr -d '='");
  CHECK(der.text == key.public_part().id());
}

TEST_CASE("files with several keys keep their order") {
  auto a = private_key::generate(key_kind::ecdsa_p256).value(), b = private_key::generate(key_kind::ecdsa_p256).value();
  auto text = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + a.pem() + b.pem();
  auto keys = parse_private_keys(text).value();
  REQUIRE(keys.size() == 2);
  CHECK(keys[0].public_part() == a.public_part());
  CHECK(keys[1].public_part() == b.public_part());
  CHECK(private_key::from_pem(text).value().public_part() == a.public_part());
  auto publics = parse_public_keys(a.pem() + b.public_part().pem()).value();
  REQUIRE(publics.size() == 2);
  CHECK(publics[0] == a.public_part());
  CHECK(publics[1] == b.public_part());
  CHECK(publics[0] != publics[1]);
}

TEST_CASE("what is no key is refused") {
  CHECK(private_key::from_pem("").error().code == errc::invalid);
  CHECK(private_key::from_pem(write_pem("EC PRIVATE KEY", as_bytes("rubbish"))).error().code == errc::invalid);
  CHECK(parse_public_keys(write_pem("PUBLIC KEY", as_bytes("rubbish"))).error().code == errc::invalid);
  CHECK(public_key::from_der(as_bytes("rubbish")).error().code == errc::invalid);
}
