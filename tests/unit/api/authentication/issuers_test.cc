// Tokens that others vouch for: issuers with real TLS, their keys as they change, a webhook, a file; and their
// settings.
#include <fmt/format.h>

#include "../../net/support.h"
#include "../access_harness.h"
#include "api/authentication/cached_tokens.h"
#include "api/authentication/claims.h"
#include "api/authentication/configuration.h"
#include "api/authentication/jwt_issuers.h"
#include "api/authentication/token_file.h"
#include "api/authentication/webhook_tokens.h"
#include "crypto/jwt.h"

namespace kedge::api {
namespace {

using namespace testing;

std::string refusal(std::string_view text) {
  auto read = parse_authentication(text, {"https://own"});
  return read ? std::string() : read.error().message;
}

constexpr std::string_view head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";

TEST_CASE("an authentication configuration maps claims, of several issuers") {
  auto read = parse_authentication(std::string(head) + R"(
jwt:
- issuer: {url: https://a.example, audiences: [x, z], audienceMatchPolicy: MatchAny, discoveryURL: https://b.example/d}
  claimMappings:
    username: {claim: sub, prefix: "a:"}
    groups: {claim: groups, prefix: ""}
    uid: {claim: uid}
  claimValidationRules: [{claim: hd, requiredValue: example.com}]
- issuer: {url: https://c.example, audiences: [x]}
  claimMappings: {username: {claim: email, prefix: ""}}
anonymous: {enabled: true, conditions: [{path: /livez}]}
)",
                                   {});
  REQUIRE_MESSAGE(read.has_value(), (read ? std::string() : read.error().message));
  REQUIRE(read->issuers.size() == 2);
  CHECK(read->issuers[0].username.prefix == "a:");
  CHECK(read->issuers[0].required_claims.at("hd") == "example.com");
  CHECK(read->issuers[0].algorithms.size() == 9);
  CHECK(read->anonymous->allows("/livez"));
  CHECK(!read->anonymous->allows("/readyz"));
  CHECK(!anonymous_settings{}.allows("/livez"));
}

TEST_CASE("what is wrong with an authentication configuration is named, all of it") {
  auto all = refusal(std::string(head) + R"(
jwt:
- issuer: {url: http://a, audiences: []}
  claimMappings: {username: {claim: sub}}
- issuer: {url: https://own, audiences: [x, x], certificateAuthority: nonsense, discoveryURL: https://own/}
  claimMappings: {username: {expression: claims.sub}, groups: {claim: g}}
- issuer: {url: "https://u@c/?q#f", audiences: [x]}
  claimMappings: {}
  misspelt: 1
anonymous: {conditions: [{path: /x}]}
)");
  for (auto part :
       {"jwt[0].issuer.url: Invalid value: \"http://a\": URL scheme must be https", "jwt[0].issuer.audiences: Required",
        "jwt[0].claimMappings.username.prefix: Required value",
        "jwt[1].issuer.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: "
        "[https://own]",
        "jwt[1].issuer.discoveryURL: Invalid value", "jwt[1].issuer.audiences[1]: Duplicate value: \"x\"",
        "jwt[1].issuer.audienceMatchPolicy", "jwt[1].issuer.certificateAuthority: Invalid value: \"<omitted>\"",
        "jwt[1].claimMappings.groups.prefix: Required value"})
    CHECK_MESSAGE(all.find(part) != std::string::npos, all);
  CHECK(refusal(std::string(head) +
                "jwt: [{issuer: {url: https://a, audiences: [x]}, claimMappings: {username: {claim: "
                "sub, prefix: ''}}, misspelt: 1}]") == "unknown field \"jwt[0].misspelt\"");
  CHECK(refusal(std::string(head) + "anonymous: {conditions: [{path: /x}]}")
            .starts_with("anonymous.conditions: Invalid value"));
}

TEST_CASE("the oidc flags say the same of one issuer") {
  oidc_flags f{.issuer_url = "https://a.example", .client_id = "x", .required_claims = {"a=b"}};
  auto read = issuer_of_flags(f, {});
  REQUIRE(read.has_value());
  CHECK(read->username.prefix == "https://a.example#");
  CHECK(read->algorithms == std::vector<std::string>{"RS256"});
  f.username_claim = "email";
  CHECK(issuer_of_flags(f, {})->username.prefix.empty());
  f.username_prefix = "-";
  CHECK(issuer_of_flags(f, {})->username.prefix.empty());
  CHECK(!issuer_of_flags({.issuer_url = "https://a"}, {}).has_value());
  CHECK(!issuer_of_flags({.issuer_url = "http://a", .client_id = "x"}, {}).has_value());
  CHECK(!issuer_of_flags({.issuer_url = "https://a", .client_id = "x", .algorithms = {"HS256"}}, {}).has_value());
  CHECK(!issuer_of_flags({.issuer_url = "https://own", .client_id = "x"}, {"https://own"}).has_value());
}

TEST_CASE("claims make a user, or a refusal in kube-apiserver's words") {
  jwt_issuer_settings s{.audiences = {"x"},
                        .username = {"sub", "p:", nullptr},
                        .groups = {"groups", "g:", nullptr},
                        .required_claims = {{"hd", "e"}}};
  auto of = [&](std::string_view claims) { return user_of_claims(yaml(claims), s); };
  auto good = of("{sub: ann, groups: [a, b], hd: e, jti: '1'}");
  REQUIRE(good.has_value());
  CHECK(good->name == "p:ann");
  CHECK(good->groups == std::vector<std::string>{"g:a", "g:b"});
  CHECK(good->extra.at("authentication.kubernetes.io/credential-id").front() == "JTI=1");
  CHECK(of("{sub: ann, groups: one, hd: e}")->groups == std::vector<std::string>{"g:one"});
  CHECK(of("{hd: e}").error().message == "oidc: parse username claims \"sub\": claim not present");
  CHECK(of("{sub: ann}").error().message == "oidc: required claim hd not present in ID token");
  CHECK(of("{sub: ann, hd: f}").error().message == "oidc: required claim hd value does not match. Got = f, want = e");
  CHECK(of("{sub: ann, hd: e, groups: 1}").error().message.starts_with("oidc: parse groups claim \"groups\""));
  s.username.claim = "email";
  CHECK(of("{email: a@b, email_verified: false, hd: e}").error().message == "oidc: email not verified");
  CHECK(of("{email: a@b, hd: e}").has_value());
  const wall_time now(std::chrono::seconds(1'000'000));
  auto timely = [&](std::string_view claims) {
    auto checked = check_claims(yaml(claims), s, now);
    return checked ? std::string() : checked.error().message;
  };
  CHECK(timely("{aud: x, exp: 1000001}").empty());
  CHECK(timely("{aud: [z], exp: 1000001}") == "oidc: verify token: oidc: expected audience \"x\" got [\"z\"]");
  CHECK(timely("{aud: x, exp: 999999}").starts_with("oidc: verify token: oidc: token is expired"));
  CHECK(timely("{aud: x}").starts_with("oidc: verify token: oidc: token is expired"));
  CHECK(timely("{aud: x, exp: 2000000, nbf: 1000200}").empty());
  CHECK(timely("{aud: x, exp: 2000000, nbf: 1000400}").find("before the nbf") != std::string::npos);
}

TEST_CASE("expressions over claims make a user, or a refusal in kube-apiserver's words") {
  auto with = [](std::string_view mappings) {
    auto read = parse_authentication(
        std::string(head) + "jwt:\n- issuer: {url: https://a.example, audiences: [x]}\n" + std::string(mappings), {});
    REQUIRE_MESSAGE(read.has_value(), (read ? std::string() : read.error().message));
    return read->issuers.front();
  };
  auto refused = [](const jwt_issuer_settings& s, std::string_view claims) {
    auto user = user_of_claims(yaml(claims), s);
    return user ? "taken as " + user->name : user.error().message;
  };
  const auto s = with(R"yaml(
  claimMappings:
    username: {expression: "'p:' + claims.sub"}
    groups: {expression: "claims.?groups.orValue([]).map(g, 'g:' + g) + [claims.?role.orValue('')]"}
    uid: {expression: "claims.ids[0].acme__dot__example__slash__id"}
    extra:
    - {key: acme.example/tenant, valueExpression: "claims.tenant__dash__name"}
    - {key: acme.example/none, valueExpression: "claims.?nothing.orValue('')"}
    - {key: acme.example/null, valueExpression: "null"}
  claimValidationRules:
  - {expression: "claims.exp - claims.iat <= 3600.0", message: lives too long}
  userValidationRules:
  - {expression: "!user.username.startsWith('p:system:')", message: reserved}
  - {expression: "has(user.uid) && user.groups.all(g, g != 'root') && user.extra.acme__dot__example__slash__tenant[0] != 'x'"}
)yaml");
  auto good =
      user_of_claims(yaml("{sub: ann, groups: [a, b], role: dev, ids: [{acme.example/id: u-1}], tenant-name: t, "
                          "exp: 5000, iat: 2000}"),
                     s);
  REQUIRE_MESSAGE(good.has_value(), (good ? std::string() : good.error().message));
  CHECK(good->name == "p:ann");
  CHECK(good->groups == std::vector<std::string>{"g:a", "g:b", "dev"});
  CHECK(good->uid == "u-1");
  CHECK(good->extra.size() == 1);
  CHECK(good->extra.at("acme.example/tenant") == std::vector<std::string>{"t"});
  const std::string rest = "groups: [], ids: [{acme.example/id: u}], tenant-name: t, iat: 0";
  CHECK(refused(s, "{sub: ann, exp: 3601, " + rest + "}") ==
        "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= 3600.0' "
        "failed: lives too long");
  CHECK(refused(s, "{sub: 'system:x', exp: 1, " + rest + "}") ==
        "oidc: error evaluating user info validation rule: validation expression "
        "'!user.username.startsWith('p:system:')' failed: reserved");
  CHECK(refused(s, "{exp: 1, " + rest + "}") ==
        "oidc: error evaluating username claim expression: expression ''p:' + claims.sub' resulted in error: no such "
        "key: sub");
  CHECK(refused(s, "{sub: a, exp: 1, role: 1, " + rest + "}") ==
        "oidc: error evaluating group claim expression: expression must return a string or a list of strings");
  const auto bare = with(R"yaml(
  claimMappings:
    username: {expression: claims.sub}
    uid: {expression: "claims.?uid.orValue('')"}
  claimValidationRules: [{expression: "claims.good == true"}]
)yaml");
  CHECK(refused(bare, "{sub: ann, good: true}") == "taken as ann");
  CHECK(refused(bare, "{sub: '', good: true}") == "oidc: empty username via CEL expression is not allowed");
  CHECK(refused(bare, "{sub: 1, good: true}") ==
        "oidc: error evaluating username claim expression: username claim expression must return a string");
  CHECK(refused(bare, "{sub: a, uid: [], good: true}") ==
        "oidc: error evaluating uid claim expression: uid claim expression must return a string");
}

// An issuer with TLS, whose keys change.
struct issuer_world {
  test::pem_pair pair = test::make_certificate("localhost");
  crypto::private_key key = *crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
  int discoveries = 0, looks = 0;
  bool away = false;
  reactor::event looked;
  test::running_server server{[this](net::http::exchange& e) -> task<void> {
                                if (away) {
                                  (void)co_await e.respond({.status = 503}, "");
                                } else if (e.request().path == "/.well-known/openid-configuration") {
                                  ++discoveries;
                                  (void)co_await e.respond(
                                      {}, fmt::format(R"({{"issuer":"{}","jwks_uri":"{}/keys"}})", url(), url()));
                                } else {
                                  ++looks;
                                  const std::vector<crypto::public_key> keys{key.public_part()};
                                  (void)co_await e.respond({}, json::write(*crypto::jwks(keys)));
                                }
                                looked.pulse();
                              },
                              test::with_tls(pair)};
  std::string url() const { return fmt::format("https://127.0.0.1:{}", server.at().port); }
  jwt_issuer_settings settings() const {
    return {.url = url(),
            .discovery_url = {},
            .certificate_authority = pair.certificate,
            .audiences = {"kubectl"},
            .algorithms = crypto::jws_algorithms(),
            .username = {"sub", "oidc:"},
            .groups = {},
            .required_claims = {}};
  }
  std::string token(std::string_view sub, std::int64_t lasts = 3600) const {
    auto now = std::chrono::duration_cast<std::chrono::seconds>(system_wall_time().time_since_epoch()).count();
    json::value claims = json::object{{"iss", url()}, {"aud", "kubectl"}, {"sub", sub}, {"exp", now + lasts}};
    return *crypto::token_signer::create(key)->sign(claims);
  }
};

TEST_CASE("an issuer's tokens are known by keys that are fetched ahead, and again when they change") {
  test::on_each_backend([]() -> task<void> {
    issuer_world w;
    jwt_issuers all({"api"}, reactor::loop::current());
    auto ask = [&](std::string token) { return all.identify(std::move(token), {}); };
    auto none = co_await ask(w.token("ann"));
    CHECK((none.has_value() && !*none));
    std::vector<jwt_issuer_settings> one;
    one.push_back(w.settings());
    all.use(std::move(one));
    auto early = co_await ask(w.token("ann"));
    CHECK(early.error().message == "oidc: authenticator not initialized");
    while (w.looks == 0) co_await w.looked.wait();
    co_await reactor::sleep_for(std::chrono::milliseconds(20));
    auto who = co_await ask(w.token("ann"));
    REQUIRE((who.has_value() && *who));
    CHECK((*who)->user->name == "oidc:ann");
    CHECK((*who)->audiences == std::vector<std::string>{"api"});
    CHECK(w.looks == 1);
    CHECK(!(co_await ask(w.token("ann", -10))).has_value());
    auto foreign = co_await ask("a.b.c");
    CHECK((foreign.has_value() && !*foreign));
    // A rotation: the new key is looked for once, for all who come with it.
    co_await reactor::sleep_for(std::chrono::milliseconds(1'050));
    w.key = *crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
    auto rotated = co_await ask(w.token("bob"));
    REQUIRE((rotated.has_value() && *rotated));
    CHECK(w.looks == 2);
    CHECK(w.discoveries == 1);
    // Signed by nobody's key, again and again: one look a second at most.
    auto forged = w.token("eve");
    forged[forged.size() - 10] = forged[forged.size() - 10] == 'A' ? 'B' : 'A';
    for (int i = 0; i < 5; ++i) CHECK(!(co_await ask(forged)).has_value());
    CHECK(w.looks <= 3);
    // Away: known keys go on.
    w.away = true;
    CHECK((co_await ask(w.token("bob"))).has_value());
    // Settings that stay keep their keys; those that go take theirs along.
    std::vector<jwt_issuer_settings> again;
    again.push_back(w.settings());
    again.back().username.prefix = "new:";
    all.use(std::move(again));
    CHECK((*co_await ask(w.token("bob")))->user->name == "new:bob");
    all.use({});
    auto gone = co_await ask(w.token("bob"));
    CHECK((gone.has_value() && !*gone));
    all.stop();
  });
}

TEST_CASE("published keys of all kinds check signatures, and no key another's") {
  for (auto kind : {crypto::key_kind::ecdsa_p256, crypto::key_kind::rsa_2048}) {
    auto key = *crypto::private_key::generate(kind);
    auto other = *crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
    const std::vector<crypto::public_key> keys{key.public_part()}, others{other.public_part()};
    auto published = crypto::parse_jwks(*crypto::jwks(keys)), strange = crypto::parse_jwks(*crypto::jwks(others));
    REQUIRE((published.has_value() && published->size() == 1));
    CHECK(published->front().key == key.public_part());
    auto token = crypto::parse_jws(*crypto::token_signer::create(key)->sign(json::object{{"iss", "x"}}));
    REQUIRE(token.has_value());
    CHECK(crypto::is_signed_by(*token, published->front()));
    CHECK(!crypto::is_signed_by(*token, strange->front()));
    auto changed = *token;
    changed.signing_input += "x";
    CHECK(!crypto::is_signed_by(changed, published->front()));
    changed = *token;
    changed.algorithm = "none";
    CHECK(!crypto::is_signed_by(changed, published->front()));
    changed.algorithm = "HS256";
    CHECK(!crypto::is_signed_by(changed, published->front()));
  }
  CHECK(!crypto::parse_jwks(yaml("{}")).has_value());
  CHECK(
      crypto::parse_jwks(yaml("{keys: [{kty: oct, k: x}, {kty: RSA, n: '', e: AQAB}, {kty: EC, crv: P-1}]}"))->empty());
}

TEST_CASE("a webhook reviews tokens, and its answers are remembered") {
  test::on_each_backend([]() -> task<void> {
    test::pem_pair pair = test::make_certificate("localhost");
    int asked = 0;
    test::running_server server(
        [&asked](net::http::exchange& e) -> task<void> {
          auto review = *json::parse(*co_await e.read_all());
          ++asked;
          CHECK(review["apiVersion"].as_string() == "authentication.k8s.io/v1");
          CHECK(review["spec"]["audiences"][0].as_string().starts_with("api"));
          const auto token = review["spec"]["token"].as_string();
          (void)co_await e.respond(
              {},
              token == "good"
                  ? R"({"status":{"authenticated":true,"user":{"username":"ann","groups":["g"],"extra":{"k":["v"]}}}})"
              : token == "lost" ? "["
                                : R"({"status":{"authenticated":false}})");
        },
        test::with_tls(pair));
    auto config = parse_kubeconfig(
        fmt::format("current-context: c\ncontexts: [{{name: c, context: {{cluster: k}}}}]\nclusters: [{{name: k, "
                    "cluster: {{server: 'https://127.0.0.1:{}', certificate-authority-data: {}}}}}]\n",
                    server.at().port, base64(as_bytes(pair.certificate))),
        "");
    REQUIRE(config.has_value());
    webhook_tokens hook(*config, "v1", {"api"});
    cached_tokens kept(hook, std::chrono::minutes(1), std::chrono::minutes(1));
    for (int i = 0; i < 3; ++i) {
      auto who = co_await kept.identify("good", {});
      REQUIRE((who.has_value() && *who));
      CHECK((*who)->user->name == "ann");
      CHECK((*who)->user->extra.at("k").front() == "v");
      auto unknown = co_await kept.identify("bad", {});
      CHECK((unknown.has_value() && !*unknown));
    }
    CHECK(asked == 2);
    for (int i = 0; i < 2; ++i) CHECK(!(co_await kept.identify("lost", {})).has_value());
    CHECK(asked == 4);
    // Two audiences are another question than one that is called like both.
    auto of_two = co_await kept.identify("good", {"api", "b"}), of_one = co_await kept.identify("good", {"api\nb"});
    CHECK((of_two.has_value() && *of_two && (*of_two)->audiences == std::vector<std::string>{"api"}));
    CHECK((of_one.has_value() && !*of_one));
    CHECK(asked == 6);
  });
}

TEST_CASE("tokens of a file") {
  std::vector<std::string> warnings;
  auto read = token_file::parse("t1,ann,1,\"a,b\"\n# no\nt2,bob,2\n,eve,3\n", warnings);
  REQUIRE(read.has_value());
  (*read)->for_audiences({"api"});
  CHECK(warnings == std::vector<std::string>{"line 4: empty token has been found"});
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  auto who = loop.run_until((*read)->identify("t1", {}));
  REQUIRE((who.has_value() && *who));
  CHECK((*who)->user->groups == std::vector<std::string>{"a", "b"});
  CHECK(!*loop.run_until((*read)->identify("t3", {})));
  CHECK(!*loop.run_until((*read)->identify("t1", {"other"})));
  CHECK(token_file::parse("t1,ann", warnings).error().message.starts_with("line 1: token file must have at least 3"));
}

}  // namespace
}  // namespace kedge::api
