#include "crypto/token.h"

#include <doctest/doctest.h>

#include "base/bytes.h"
#include "crypto/certificate.h"
#include "crypto/digest.h"
#include "workbench.h"

using namespace kedge;
using namespace kedge::crypto;

namespace {
const std::string hash(64, 'a');
}

TEST_CASE("tokens are parsed by K3s's algorithm") {
  struct {
    std::string text, ca_hash, user, password, bearer;
  } rows[] = {
      {"secret", "", "", "secret", ""},
      {"se:cr::et", "", "", "se:cr::et", ""},
      {"abcdef.0123456789abcdef", "", "", "", "abcdef.0123456789abcdef"},
      {"Abcdef.0123456789abcdef", "", "", "Abcdef.0123456789abcdef", ""},
      {"K10" + hash + "::server:secret", hash, "server", "secret", ""},
      {"K10" + hash + "::node:a:b::c", hash, "node", "a:b::c", ""},
      {"K10" + hash + "::abcdef.0123456789abcdef", hash, "", "", "abcdef.0123456789abcdef"},
      {"K10::server:secret", "", "server", "secret", ""},
      {"K10:::secret", "", "", "secret", ""},
      {"K10server:secret", "", "server", "secret", ""},
      {"K10abcdef.0123456789abcdef", "", "", "", "abcdef.0123456789abcdef"},
  };
  for (auto& r : rows) {
    CAPTURE(r.text);
    auto t = parse_token(r.text);
    REQUIRE(t);
    CHECK(*t == token{r.ca_hash, r.user, r.password, r.bearer});
    CHECK(parse_token(t->format()).value() == *t);
  }
}

TEST_CASE("bad tokens fail with K3s's words") {
  struct {
    std::string text, message;
  } rows[] = {
      {"", "token must not be empty"},
      {"K10abc::server:secret", "invalid token CA hash length"},
      {"K10" + hash + "b::server:secret", "invalid token CA hash length"},
      {"K10" + hash + "::secret", "invalid token format"},
      {"K10" + hash + "::server:", "invalid token format"},
      {"K10" + hash + "::", "invalid token format"},
      {"K10", "invalid token format"},
      {"K10password", "invalid token format"},
  };
  for (auto& r : rows) {
    CAPTURE(r.text);
    auto t = parse_token(r.text);
    REQUIRE(!t);
    CHECK(t.error().message == r.message);
  }
  CHECK(parse_token(std::string(5000, 'x')).error().code == errc::too_large);
  // What a server accepts as its token, agents must accept in the full form that it writes.
  auto longest = parse_token(std::string(token_password_max_bytes, 'x'), "server");
  REQUIRE(longest);
  longest->ca_hash = std::string(64, 'a');
  CHECK(parse_token(longest->format()).value() == *longest);
  CHECK(parse_token(std::string(token_password_max_bytes + 1, 'x')).error().code == errc::too_large);
  CHECK(parse_token("K10::u:" + std::string(token_password_max_bytes + 1, 'x')).error().code == errc::too_large);
}

TEST_CASE("the caller says who it is, and the header follows") {
  auto server_token = "K10" + hash + "::server:secret";
  auto agent = parse_token(server_token, "node").value();
  CHECK(agent.format() == "K10" + hash + "::node:secret");
  CHECK(agent.authorization() == "Basic bm9kZTpzZWNyZXQ=");
  CHECK(parse_token("secret", "server").value().authorization() == "Basic c2VydmVyOnNlY3JldA==");
  CHECK(parse_token("secret").value().authorization() == "");
  CHECK(parse_token("abcdef.0123456789abcdef", "node").value().authorization() == "Bearer abcdef.0123456789abcdef");
}

TEST_CASE("normalised, a token is its password") {
  CHECK(normalize_token("secret").value() == "secret");
  CHECK(normalize_token("K10" + hash + "::server:se:cret").value() == "se:cret");
  for (auto bad : {"", "abcdef.0123456789abcdef", "K10abcdef", "K10x::y:z"}) {
    CAPTURE(bad);
    CHECK(normalize_token(bad).error().message ==
          "failed to normalize server token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>");
  }
}

TEST_CASE("passwd keeps the password of the user's own token") {
  CHECK(password_of_token("K10" + hash + "::server:a::server:b", "server") == "a::server:b");
  CHECK(password_of_token("K10" + hash + "::server:a", "node") == "K10" + hash + "::server:a");
  CHECK(password_of_token("x::server:a", "server") == "x::server:a");
}

TEST_CASE("generated tokens have their form") {
  seeded_random random(1);
  auto t = generate_token(random);
  CHECK(t.size() == 32);
  CHECK(t.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(t != generate_token(random));
  for (int i = 0; i < 100; ++i) CHECK(is_bootstrap_token(generate_bootstrap_token(random)));
  for (auto bad : {"", "abcdef.0123456789abcde", "abcdef.0123456789abcdeg0", "abcdef-0123456789abcdef",
                   "abcde.f0123456789abcdef", "ABCDEF.0123456789abcdef"})
    CHECK(!is_bootstrap_token(bad));
}

TEST_CASE("the CA hash is of the text for one certificate, of the root's DER for a chain") {
  workbench w;
  auto now = system_wall_time();
  auto ca = authority::create("k3s-server-ca", now).value();
  auto pem = ca.bundle_pem();
  CHECK(ca_hash(pem, now).value() == sha256_hex(as_bytes(pem)));
  w.put("ca.crt", pem);
  CHECK(w.run("sha256sum < ca.crt").text.starts_with(ca_hash(pem, now).value()));

  auto made = w.run(
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.crt -subj "
      "/CN=root -days 10 && "
      "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout mid.key -out mid.csr -subj /CN=mid && "
      "printf 'basicConstraints=critical,CA:true\\nkeyUsage=critical,keyCertSign\\nsubjectKeyIdentifier=hash\\n"
      "authorityKeyIdentifier=keyid' > ext && "
      "openssl x509 -req -in mid.csr -CA root.crt -CAkey root.key -CAcreateserial -out mid.crt -days 10 -extfile ext "
      "&& "
      "(cat ext; printf '\\nextendedKeyUsage=clientAuth') > client && "
      "openssl x509 -req -in mid.csr -CA root.crt -CAkey root.key -CAcreateserial -out client.crt -days 10 -extfile "
      "client");
  REQUIRE_MESSAGE(made.good, made.text);
  now = system_wall_time();  // not before what openssl has just made begins
  auto mid = w.get("mid.crt"), root = w.get("root.crt"), client = w.get("client.crt");
  auto root_hash = parse_bundle(root).value().front().fingerprint_sha256();
  CHECK(ca_hash(mid + root, now).value() == root_hash);
  CHECK(ca_hash(mid + pem + root, now).value() == root_hash);
  // No chain: the raw text.
  for (auto& text : {root + mid, mid + pem, client + root})
    CHECK(ca_hash(text, now).value() == sha256_hex(as_bytes(text)));
  auto later = now + std::chrono::days(20);
  CHECK(ca_hash(mid + root, later).value() == sha256_hex(as_bytes(mid + root)));

  auto good = parse_token("K10" + root_hash + "::node:x").value();
  CHECK(check_ca_hash(good, mid + root, now));
  CHECK(check_ca_hash(parse_token("x").value(), mid + root, now));
  CHECK(check_ca_hash(good, pem, now).error().message ==
        "token CA hash does not match the Cluster CA certificate hash: " + root_hash +
            " != " + sha256_hex(as_bytes(pem)));
  CHECK(!check_ca_hash(good, "no certificate", now));
}
