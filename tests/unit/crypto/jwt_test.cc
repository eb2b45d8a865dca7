#include "crypto/jwt.h"

#include <doctest/doctest.h>

#include "base/bytes.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "workbench.h"

using namespace kedge;
using namespace kedge::crypto;

namespace {

json::value claims() {
  return json::
      parse(R"({"aud":["https://kubernetes.default.svc.cluster.local","k3s"],"exp":1795240239,"iat":1795236632,)"
            R"("nbf":1795236632,"iss":"https://kubernetes.default.svc.cluster.local","sub":"system:serviceaccount:default:default"})")
          .value();
}
const wall_time start = wall_time(std::chrono::seconds(1795236632));

std::string recode(std::string_view header, std::string_view rest) {
  return base64url(as_bytes(header)) + std::string(rest);
}

}  // namespace

TEST_CASE("tokens are signed and verified by RSA and ECDSA keys") {
  auto rsa = private_key::generate(key_kind::rsa_2048).value(),
       ec = private_key::generate(key_kind::ecdsa_p256).value();
  struct {
    private_key key;
    const char* algorithm;
  } rows[] = {{rsa, "RS256"}, {ec, "ES256"}};
  auto verifier = token_verifier::create(std::vector{rsa.public_part(), ec.public_part()}).value();
  for (auto& r : rows) {
    CAPTURE(r.algorithm);
    auto signer = token_signer::create(r.key).value();
    CHECK(signer.key_id() == r.key.public_part().id());
    auto token = signer.sign(claims()).value();
    auto header = unbase64url(token.substr(0, token.find('.'))).value();
    CHECK(header == "{\"alg\":\"" + std::string(r.algorithm) + "\",\"kid\":\"" + signer.key_id() + "\"}");
    CHECK(verifier.verify(token).value() == claims());
    for (std::size_t i = 0; i < token.size(); i += 37) {  // any change is found
      auto changed = token;
      changed[i] = changed[i] == 'A' ? 'B' : 'A';
      CAPTURE(i);
      CHECK(verifier.verify(changed).error().code == errc::unauthenticated);
    }
    auto alone =
        token_verifier::create(std::vector{private_key::generate(key_kind::ecdsa_p256).value().public_part()}).value();
    CHECK(!alone.verify(token));
    CHECK(!token_verifier::create({}).value().verify(token));
  }
}

TEST_CASE("openssl agrees with an RS256 signature") {
  workbench w;
  auto key = private_key::generate(key_kind::rsa_2048).value();
  auto token = token_signer::create(key).value().sign(claims()).value();
  auto dot = token.rfind('.');
  w.put("text", token.substr(0, dot));
  w.put("signature", unbase64url(token.substr(dot + 1)).value());
  w.put("public", key.public_part().pem());
  CHECK(w.run("openssl dgst -sha256 -verify public -signature signature text").text == "Verified OK\n");
}

TEST_CASE("RFC 7515's ES256 example verifies without a kid") {
  auto x = unbase64url("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU").value();
  auto y = unbase64url("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0").value();
  auto der = unhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004").value() + x + y;
  auto key = public_key::from_der(as_bytes(der)).value();
  auto verifier = token_verifier::create(std::vector{key}).value();
  auto c = verifier
               .verify(
                   "eyJhbGciOiJFUzI1NiJ9."
                   "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
                   "fQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
               .value();
  CHECK(c["iss"].as_string() == "joe");
  auto set = jwks(std::vector{key}).value();
  CHECK(set["keys"][std::size_t(0)]["x"].as_string() == "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
  CHECK(set["keys"][std::size_t(0)]["y"].as_string() == "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
  CHECK(set["keys"][std::size_t(0)]["crv"].as_string() == "P-256");
}

TEST_CASE("the algorithm is the key's, not the token's") {
  auto key = private_key::generate(key_kind::ecdsa_p256).value();
  auto verifier = token_verifier::create(std::vector{key.public_part()}).value();
  auto token = token_signer::create(key).value().sign(claims()).value();
  auto rest = token.substr(token.find('.'));
  auto unsigned_rest = rest.substr(0, rest.rfind('.') + 1);
  for (auto& bad : {recode(R"({"alg":"none"})", unsigned_rest), recode(R"({"alg":"HS256"})", rest),
                    recode(R"({"alg":"RS256"})", rest), recode(R"({"alg":"ES256","crit":["x"]})", rest),
                    recode("[]", rest), recode("{", rest), std::string("a.b"), std::string("a.b.c.d"), std::string(),
                    token + "=", token + ".", std::string(20'000, 'a')}) {
    CAPTURE(bad);
    CHECK(verifier.verify(bad).error().code == errc::unauthenticated);
  }
}

TEST_CASE("the issuer can be told before any signature is checked") {
  auto token = token_signer::create(private_key::generate(key_kind::ecdsa_p256).value()).value().sign(claims()).value();
  CHECK(has_issuer(token, "https://kubernetes.default.svc.cluster.local"));
  CHECK(!has_issuer(token, "https://other"));
  CHECK(!has_issuer("abcdef.0123456789abcdef", ""));
}

TEST_CASE("times are checked with a minute of leeway") {
  using std::chrono::seconds;
  auto code = [](const json::value& c, wall_time t) {
    auto done = check_times(c, t);
    return done ? std::string("ok") : std::string(name_of(done.error().code));
  };
  auto end = start + seconds(3607);
  CHECK(code(claims(), start) == "ok");
  CHECK(code(claims(), end + seconds(60)) == "ok");
  CHECK(code(claims(), end + seconds(61)) == "expired");
  CHECK(code(claims(), start - seconds(60)) == "ok");
  CHECK(code(claims(), start - seconds(61)) == "unauthenticated");
  CHECK(code(json::parse("{}").value(), start) == "ok");
  CHECK(code(json::parse(R"({"exp":"tomorrow"})").value(), start) == "unauthenticated");
}

TEST_CASE("audiences overlap in the wanted order") {
  std::vector<std::string> wanted{"k3s", "other", "https://kubernetes.default.svc.cluster.local"};
  CHECK(common_audiences(claims(), wanted) ==
        std::vector<std::string>{"k3s", "https://kubernetes.default.svc.cluster.local"});
  CHECK(common_audiences(json::parse(R"({"aud":"other"})").value(), wanted) == std::vector<std::string>{"other"});
  CHECK(common_audiences(json::parse("{}").value(), wanted).empty());
}

TEST_CASE("the JWKS document names the keys that verify") {
  auto key = private_key::generate(key_kind::rsa_2048).value().public_part();
  auto one = jwks(std::vector{key}).value()["keys"][std::size_t(0)];
  auto n = one["n"].as_string();
  CHECK(json::write(one) == "{\"use\":\"sig\",\"kty\":\"RSA\",\"kid\":\"" + key.id() + "\",\"alg\":\"RS256\",\"n\":\"" +
                                std::string(n) + "\",\"e\":\"AQAB\"}");
  CHECK(unbase64url(n).value().size() == 256);
}
