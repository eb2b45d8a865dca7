#include "crypto/at_rest.h"

#include <doctest/doctest.h>

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "json/parse.h"
#include "workbench.h"

using namespace kedge;
using namespace kedge::crypto;

namespace {

const std::string k32(32, 'k'), other32(32, 'o');
constexpr std::string_view where = "/registry/secrets/default/s";

at_rest rules(cipher first) { return at_rest({{first, {{"new", k32}, {"old", other32}}}, {cipher::identity, {}}}); }

}  // namespace

TEST_CASE("every provider round-trips under its prefix") {
  for (auto kind : {cipher::aescbc, cipher::aesgcm, cipher::secretbox}) {
    CAPTURE(name_of(kind));
    auto r = rules(kind);
    CHECK(!r.writes_plain());
    seeded_random random(1);
    for (std::string plain : {std::string(), std::string("k8s\0\n", 5), std::string(5000, 'x')}) {
      auto stored = r.seal(plain, where, random).value();
      CHECK(stored.starts_with("k8s:enc:" + std::string(name_of(kind)) + ":v1:new:"));
      auto opened = r.open(stored, where).value();
      CHECK(opened.plain == plain);
      CHECK(!opened.stale);
      CHECK(r.seal(plain, where, random).value() != stored);
      // Written under what is now the second key.
      at_rest before({{kind, {{"old", other32}}}});
      auto old = r.open(before.seal(plain, where, random).value(), where).value();
      CHECK(old.plain == plain);
      CHECK(old.stale);
      // Another secret under the same name.
      at_rest wrong({{kind, {{"new", other32}}}});
      auto failed = wrong.open(stored, where);
      if (kind != cipher::aescbc)
        CHECK(failed.error().code == errc::unauthenticated);  // CBC has only its padding
      else
        CHECK((!failed || failed->plain != plain));
    }
  }
}

TEST_CASE("each value says who reads it") {
  auto r = rules(cipher::aescbc);
  CHECK(r.open("plain", where).value().plain == "plain");
  CHECK(r.open("plain", where).value().stale);
  at_rest identity;
  CHECK(identity.writes_plain());
  CHECK(!identity.open("plain", where).value().stale);
  CHECK(identity.seal("plain", where, system_random()).value() == "plain");
  for (auto text : {"k8s:enc:aescbc:v1:unknown:xx", "k8s:enc:kms:v2:x:yy", "k8s:enc:secretbox:v1:new:xx",
                    "k8s:enc:", "k8s:enc:aescbc:v2:new:x"}) {
    CAPTURE(text);
    CHECK(r.open(text, where).error().code == errc::unsupported);
    CHECK(identity.open(text, where).error().code == errc::unsupported);
  }
  CHECK(r.open("k8s:enc:aescbc:v1:new:short", where).error().code == errc::corrupt);
  at_rest strict({{cipher::aesgcm, {{"new", k32}}}});
  CHECK(strict.open("plain", where).error().code == errc::unsupported);
}

TEST_CASE("AES-GCM binds a value to its place") {
  auto r = rules(cipher::aesgcm);
  auto stored = r.seal("x", where, system_random()).value();
  CHECK(r.open(stored, "/registry/secrets/default/t").error().code == errc::unauthenticated);
}

TEST_CASE("AES-CBC is the openssl command's, secretbox is NaCl's") {
  workbench w;
  auto vector = unhex("000102030405060708090a0b0c0d0e0f").value();
  auto sealed = cbc_seal(k32, vector, "attack at dawn").value();
  w.put("sealed", sealed.substr(16));
  CHECK(
      w.run("openssl enc -d -aes-256-cbc -in sealed -K " + hex(as_bytes(k32)) + " -iv 000102030405060708090a0b0c0d0e0f")
          .text == "attack at dawn");

  // The vector of NaCl's tests/secretbox.c.
  auto key = unhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389").value();
  auto nonce = unhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37").value();
  auto plain = unhex(
                   "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cd"
                   "c3c01233561f41db66cce314adb31"
                   "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a"
                   "089bc76897040e082f93776384864"
                   "5e0705")
                   .value();
  auto box = secretbox_seal(key, nonce, plain).value();
  CHECK(hex(as_bytes(box)).substr(48, 64) == "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce");
  CHECK(secretbox_open(key, box).value() == plain);
}

TEST_CASE("AES-GCM is NIST's") {
  // The GCM specification's test case 14: a zero key and nonce over one zero block.
  std::string zero32(32, '\0'), zero12(12, '\0'), zero16(16, '\0');
  auto sealed = gcm_seal(zero32, zero12, zero16, {}).value();
  CHECK(hex(as_bytes(sealed)).substr(24) == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
}

TEST_CASE("wrong key and nonce sizes are refused") {
  CHECK(gcm_seal("short", std::string(12, 'n'), "x", {}).error().code == errc::invalid);
  CHECK(gcm_seal(k32, "n", "x", {}).error().code == errc::invalid);
  CHECK(cbc_seal(k32, "n", "x").error().code == errc::invalid);
  CHECK(secretbox_seal("short", std::string(24, 'n'), "x").error().code == errc::invalid);
  CHECK(secretbox_seal(k32, "n", "x").error().code == errc::invalid);
}

TEST_CASE("an EncryptionConfiguration chooses by resource, first entry first") {
  auto secret = base64(as_bytes(k32));
  auto text = R"({"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[
    {"resources":["secrets","widgets.example.com"],"providers":[{"aescbc":{"keys":[{"name":"aescbckey","secret":")" +
              secret + R"("}]}},{"identity":{}}]},
    {"resources":["*.apps"],"providers":[{"secretbox":{"keys":[{"name":"b","secret":")" +
              secret + R"("}]}}]},
    {"resources":["*."],"providers":[{"identity":{}},{"aesgcm":{"keys":[{"name":"c","secret":")" +
              secret + R"("}]}}]}]})";
  auto c = encryption_config::parse(text).value();
  struct {
    const char *resource, *group;
    cipher first;
  } rows[] = {{"secrets", "", cipher::aescbc},
              {"widgets", "example.com", cipher::aescbc},
              {"secrets", "example.com", cipher::identity},
              {"deployments", "apps", cipher::secretbox},
              {"configmaps", "", cipher::identity},
              {"leases", "coordination.k8s.io", cipher::identity}};
  for (auto& r : rows) {
    CAPTURE(r.resource);
    CHECK(c.for_resource(r.resource, r.group).providers().front().kind == r.first);
  }
  CHECK(c.for_resource("configmaps", "").providers().size() == 2);
  CHECK(encryption_config().for_resource("secrets", "").writes_plain());
}

TEST_CASE("a configuration that can't protect is refused without telling its secret") {
  auto with = [](std::string_view provider) {
    return R"({"kind":"EncryptionConfiguration","resources":[{"resources":["secrets"],"providers":[)" +
           std::string(provider) + "]}]}";
  };
  struct {
    std::string text;
    errc code;
  } rows[] = {
      {"{}", errc::invalid},
      {R"({"kind":"EncryptionConfiguration"})", errc::invalid},
      {R"({"kind":"EncryptionConfiguration","resources":[{"resources":["secrets"]}]})", errc::invalid},
      {with(R"({"kms":{}})"), errc::unsupported},
      {with(R"({"aescbc":{"keys":[]}})"), errc::invalid},
      {with(R"({"aescbc":{},"identity":{}})"), errc::invalid},
      {with(R"({"aescbc":{"keys":[{"name":"a","secret":"c2VjcmV0"}]}})"), errc::invalid},
      {with(R"({"aescbc":{"keys":[{"name":"a:b","secret":"c2VjcmV0c2VjcmV0c2VjcmV0"}]}})"), errc::invalid},
      {with(R"({"secretbox":{"keys":[{"name":"a","secret":"YWFhYWFhYWFhYWFhYWFhYQ=="}]}})"), errc::invalid},
      {with(R"({"aescbc":{"keys":[{"name":"a","secret":"**"}]}})"), errc::invalid},
  };
  for (auto& r : rows) {
    CAPTURE(r.text);
    auto c = encryption_config::parse(r.text);
    REQUIRE(!c);
    CHECK(c.error().code == r.code);
    CHECK(c.error().message.find("c2Vjc") == std::string::npos);
  }
}

TEST_CASE("K3s's configuration file is made and read") {
  seeded_random random(2);
  for (auto kind : {cipher::aescbc, cipher::secretbox}) {
    auto text = make_encryption_config(kind, random);
    CHECK(text.starts_with(
        R"({"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["secrets"],"providers":[{")"));
    CHECK(text.ends_with(R"("}]}},{"identity":{}}]}]})"));
    auto c = encryption_config::parse(text).value();
    auto& providers = c.for_resource("secrets", "").providers();
    REQUIRE(providers.size() == 2);
    CHECK(providers[0].kind == kind);
    CHECK(providers[0].keys[0].name == std::string(name_of(kind)) + "key");
    CHECK(providers[0].keys[0].secret.size() == 32);
    CHECK(encryption_hash("start", text) == "start-" + sha256_hex(as_bytes(text)));
  }
}
