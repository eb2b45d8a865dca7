#include "api/authentication/union.h"

#include "../access_harness.h"
#include "api/authorization/review.h"

namespace kedge::api {
namespace {

using namespace testing;

constexpr std::string_view objects = R"(
{kind: ServiceAccount, metadata: {name: robot, namespace: default, uid: sa-1}}
---
{kind: Pod, metadata: {name: p, namespace: default, uid: pod-1}, spec: {serviceAccountName: robot, nodeName: n1}}
---
{kind: Pod, metadata: {name: other, namespace: default, uid: pod-2}, spec: {serviceAccountName: default}}
---
{kind: Node, metadata: {name: n1, uid: node-1}}
---
{kind: Secret, metadata: {name: bootstrap-token-abcdef, namespace: kube-system}, type: bootstrap.kubernetes.io/token,
 data: {token-id: YWJjZGVm, token-secret: MDEyMzQ1Njc4OWFiY2RlZg==, usage-bootstrap-authentication: dHJ1ZQ==, auth-extra-groups: c3lzdGVtOmJvb3RzdHJhcHBlcnM6azNz}}
---
{kind: Secret, metadata: {name: bootstrap-token-old000, namespace: kube-system}, type: bootstrap.kubernetes.io/token,
 data: {token-id: b2xkMDAw, token-secret: MDEyMzQ1Njc4OWFiY2RlZg==, usage-bootstrap-authentication: dHJ1ZQ==, expiration: MjAyMC0wMS0wMVQwMDowMDowMFo=}}
)";

struct keys {
  crypto::private_key key = *crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
  token_settings settings{.keys = {key.public_part()}};
  token_authenticator tokens = *token_authenticator::create(settings);
  token_issuer issuer = *token_issuer::create(key, settings.issuers.front(), settings.api_audiences);
};

struct bench : keys {
  cluster c;
  rule_source* rules = nullptr;
  std::unique_ptr<authorizer> authz = make_authorizer(&rules);
  reviews questions{*authz, *rules, tokens, &issuer};
  bench() { c.put(objects); }

  json::value token_for(std::string_view spec, std::string account = "robot") {
    auto body = yaml("{spec: " + std::string(spec) + "}");
    auto made = questions.create(ask(admin(), "create", "", "serviceaccounts/token", "default", std::move(account)),
                                 body, c.now());
    REQUIRE_MESSAGE(made.has_value(), (made ? std::string() : made.error().message));
    return std::move(*made);
  }
  status token_error(std::string_view spec, std::string account = "robot") {
    auto body = yaml("{spec: " + std::string(spec) + "}");
    auto made = questions.create(ask(admin(), "create", "", "serviceaccounts/token", "default", std::move(account)),
                                 body, c.now());
    REQUIRE(!made.has_value());
    return made.error();
  }
  result<token_identity> verify(std::string_view token, std::vector<std::string> wanted = {}, duration later = {}) {
    return tokens.verify(token, wanted, c.now(), system_wall_time() + later);
  }
};

TEST_CASE("a service account token is good while all that it hangs on stands") {
  bench b;
  auto answer = b.token_for("{boundObjectRef: {apiVersion: v1, kind: Pod, name: p, uid: pod-1}}");
  auto token = std::string(answer["status"]["token"].as_string());
  CHECK(answer["spec"]["expirationSeconds"].as_integer() == 3600);
  auto who = b.verify(token);
  REQUIRE_MESSAGE(who.has_value(), (who ? std::string() : who.error().message));
  CHECK(who->user->name == "system:serviceaccount:default:robot");
  CHECK(who->user->uid == "sa-1");
  CHECK(who->user->groups == std::vector<std::string>{"system:serviceaccounts", "system:serviceaccounts:default"});
  CHECK(who->user->extra.at("authentication.kubernetes.io/pod-name") == std::vector<std::string>{"p"});
  CHECK(who->user->extra.at("authentication.kubernetes.io/node-uid") == std::vector<std::string>{"node-1"});
  CHECK(who->user->extra.at("authentication.kubernetes.io/credential-id")[0].starts_with("JTI="));
  CHECK(!b.verify(token, {"vault"}).has_value());
  CHECK(!b.verify(token, {}, std::chrono::hours(2)).has_value());
  auto broken = token;
  broken[broken.size() / 2] = broken[broken.size() / 2] == 'A' ? 'B' : 'A';
  CHECK(!b.verify(broken).has_value());
  CHECK(!b.verify("x.y.z").has_value());

  b.c.put("{kind: Pod, metadata: {name: p, namespace: default, uid: pod-1, deletionTimestamp: '" +
          format_rfc3339(system_wall_time()) + "'}, spec: {serviceAccountName: robot}}");
  CHECK(b.verify(token).has_value());
  CHECK(!b.verify(token, {}, std::chrono::minutes(2)).has_value());
  b.c.put("{kind: Pod, metadata: {name: p, namespace: default, uid: pod-9}, spec: {serviceAccountName: robot}}");
  CHECK(!b.verify(token).has_value());
  b.c.remove("/registry/pods/default/p");
  CHECK(!b.verify(token).has_value());
  auto unbound = std::string(b.token_for("{}")["status"]["token"].as_string());
  CHECK(b.verify(unbound).has_value());
  b.c.put("{kind: ServiceAccount, metadata: {name: robot, namespace: default, uid: sa-2}}");
  CHECK(!b.verify(unbound).has_value());
}

TEST_CASE("tokens that tell when they should be replaced are counted before and after, others not") {
  bench b;
  std::vector<token_use> uses;
  b.tokens.count_by([&](token_use use) { uses.push_back(use); });
  token_issuer::request r{.ns = "default", .account = "robot", .account_uid = "sa-1", .seconds = 7200};
  r.audiences = b.settings.api_audiences;
  auto issued = [&] { return b.issuer.issue(r, system_wall_time(), system_random()).value(); };
  CHECK(b.verify(issued()).has_value());
  CHECK(uses.empty());
  r.warn_after_seconds = 600;
  const auto token = issued();
  CHECK(b.verify(token).has_value());
  CHECK(b.verify(token, {}, std::chrono::minutes(11)).has_value());
  CHECK(!b.verify(token, {}, std::chrono::hours(3)).has_value());
  CHECK(uses == std::vector{token_use::valid, token_use::stale});
}

TEST_CASE("TokenRequest") {
  bench b;
  auto pod = b.token_for("{expirationSeconds: 3607, boundObjectRef: {apiVersion: v1, kind: Pod, name: p}}");
  CHECK(b.verify(pod["status"]["token"].as_string(), {}, std::chrono::hours(24 * 300))
            .has_value());  // injected tokens last a year
  auto vault = b.token_for("{audiences: [vault]}");
  CHECK(!b.verify(vault["status"]["token"].as_string()).has_value());
  CHECK(b.verify(vault["status"]["token"].as_string(), {"vault", "x"})->audiences == std::vector<std::string>{"vault"});
  CHECK(b.token_error("{expirationSeconds: 599}").message.find("may not specify a duration less than 10 minutes") !=
        std::string::npos);
  CHECK(b.token_error("{expirationSeconds: 4294967297}").code == 422);
  CHECK(b.token_error("{}", "nobody").code == 404);
  CHECK(b.token_error("{boundObjectRef: {apiVersion: v1, kind: Pod, name: p, uid: x}}").code == 409);
  CHECK(b.token_error("{boundObjectRef: {apiVersion: v1, kind: Pod, name: other}}").code == 400);
  CHECK(b.token_error("{boundObjectRef: {apiVersion: v1, kind: Pod, name: nope}}").code == 404);
  CHECK(b.token_error("{boundObjectRef: {apiVersion: v1, kind: Service, name: p}}").code == 400);
}

TEST_CASE("bootstrap tokens") {
  bench b;
  auto who = b.verify("abcdef.0123456789abcdef");
  REQUIRE(who.has_value());
  CHECK(who->user->name == "system:bootstrap:abcdef");
  CHECK(who->user->groups == std::vector<std::string>{"system:bootstrappers", "system:bootstrappers:k3s"});
  CHECK(!b.verify("abcdef.0123456789abcdee").has_value());
  CHECK(!b.verify("old000.0123456789abcdef").has_value());
  CHECK(!b.verify("nope00.0123456789abcdef").has_value());
}

TEST_CASE("reviews") {
  bench b;
  b.c.put(R"(
{kind: ClusterRole, metadata: {name: reader}, rules: [{apiGroups: [""], resources: [pods], verbs: [get]}, {nonResourceURLs: ["/x"], verbs: [get]}]}
---
{kind: ClusterRoleBinding, metadata: {name: readers}, subjects: [{kind: User, name: ann}], roleRef: {kind: ClusterRole, name: reader}}
)");
  auto now = b.c.now();
  auto good = b.questions.token_review(yaml("{spec: {token: abcdef.0123456789abcdef}}"), now);
  REQUIRE(good.has_value());
  CHECK((*good)["status"]["authenticated"].as_bool());
  CHECK((*good)["status"]["user"]["username"].as_string() == "system:bootstrap:abcdef");
  CHECK(json::write((*b.questions.token_review(yaml("{spec: {token: nope}}"), now))["status"]) ==
        R"({"user":{},"error":"invalid bearer token"})");
  CHECK(b.questions.token_review(yaml("{spec: {}}"), now).error().code == 400);
  CHECK((*b.questions.self_subject_review(user("ann"), yaml("{}")))["status"]["userInfo"]["username"].as_string() ==
        "ann");
  auto sar = [&](std::string_view spec) {
    return b.questions.subject_access_review(yaml("{spec: " + std::string(spec) + "}"), now);
  };
  auto allowed = sar("{user: ann, resourceAttributes: {verb: get, resource: pods, namespace: x}}");
  REQUIRE(allowed.has_value());
  CHECK(
      json::write((*allowed)["status"]) ==
      R"({"allowed":true,"reason":"RBAC: allowed by ClusterRoleBinding \"readers\" of ClusterRole \"reader\" to User \"ann\""})");
  CHECK(!(*sar("{user: bob, resourceAttributes: {verb: get, resource: pods}}"))["status"]["allowed"].as_bool(true));
  CHECK((*sar("{user: ann, nonResourceAttributes: {verb: get, path: /x}}"))["status"]["allowed"].as_bool());
  CHECK(sar("{user: ann}").error().code == 422);
  CHECK(sar("{resourceAttributes: {verb: get}}").error().code == 422);
  CHECK(sar("{user: a, resourceAttributes: {verb: get}, nonResourceAttributes: {verb: get}}").error().code == 422);
  auto self = yaml("{spec: {resourceAttributes: {verb: get, resource: pods}}}");
  CHECK((*b.questions.self_subject_access_review(user("ann"), self, now))["status"]["allowed"].as_bool());
  auto local = yaml("{spec: {user: ann, resourceAttributes: {verb: get, resource: pods, namespace: x}}}");
  CHECK(b.questions.local_subject_access_review("x", local, now).has_value());
  CHECK(b.questions.local_subject_access_review("y", local, now).error().code == 422);
  auto rules = b.questions.self_subject_rules_review(user("ann"), yaml("{spec: {namespace: x}}"), now);
  REQUIRE(rules.has_value());
  CHECK(
      json::write((*rules)["status"]) ==
      R"({"resourceRules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}],"nonResourceRules":[{"verbs":["get"],"nonResourceURLs":["/x"]}],"incomplete":false})");
  CHECK(reviews::handles("", "serviceaccounts", "token"));
  CHECK(!reviews::handles("", "serviceaccounts", ""));
}

TEST_CASE("discovery documents name our keys") {
  keys k;
  CHECK(
      oidc_configuration(k.settings, "https://10.0.0.1:6443") ==
      R"({"issuer":"https://kubernetes.default.svc.cluster.local","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]})");
  CHECK(json::parse(*oidc_keys(k.settings)).value()["keys"][std::size_t{0}]["kid"].as_string() ==
        k.key.public_part().id());
}

struct front {
  bench b;
  crypto::authority client_ca = *crypto::authority::create("client", system_wall_time());
  crypto::authority proxy_ca = *crypto::authority::create("proxy", system_wall_time());
  crypto::authority foreign_ca = *crypto::authority::create("foreign", system_wall_time());
  authn_settings settings;
  front() {
    settings.client_ca = std::make_shared<crypto::trust>(*crypto::trust::from_bundle(client_ca.bundle()));
    settings.request_header_ca = std::make_shared<crypto::trust>(*crypto::trust::from_bundle(proxy_ca.bundle()));
    auto table = std::make_shared<crypto::passwd>();
    table->ensure("node", "k3s:agent", "secret");
    settings.passwd = [table] { return table; };
  }
  static std::string leaf(const crypto::authority& ca, std::string name, std::vector<std::string> groups = {}) {
    auto key = *crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
    crypto::leaf_request r;
    r.common_name = std::move(name);
    r.organizations = std::move(groups);
    r.client = true;
    return crypto::issue(ca, key.public_part(), r, system_wall_time(), system_random())->der();
  }
  api_result<user_info> ask(const net::http::headers& h, std::string certificate = {}, duration later = {}) {
    union_authenticator a(settings, &b.tokens, *b.c.objects);
    net::http::connection_info connection;
    if (!certificate.empty()) connection.peer_certificates.push_back(std::move(certificate));
    auto who = a.identify(h, connection, b.c.now(), system_wall_time() + later);
    if (!who) return fail(std::move(who).error());
    return **who;
  }
  static net::http::headers with(std::initializer_list<std::pair<std::string, std::string>> fields) {
    net::http::headers h;
    for (auto& [name, value] : fields) h.add(name, value);
    return h;
  }
};

TEST_CASE("the union of authenticators") {
  front f;
  auto basic = [](std::string_view text) {
    return front::with({{"Authorization", "Basic " + base64(as_bytes(text))}});
  };
  auto node_certificate = front::leaf(f.client_ca, "system:node:n1", {"system:nodes"});
  CHECK(f.ask({}).error().code == 401);
  CHECK(f.ask(basic("node:secret"))->name == "node");
  CHECK(f.ask(basic("node:secret"))->groups == std::vector<std::string>{"k3s:agent", "system:authenticated"});
  CHECK(f.ask(basic("node:wrong")).error().code == 401);
  CHECK(f.ask(basic("nobody:secret")).error().code == 401);
  auto node = f.ask({}, node_certificate);
  REQUIRE(node.has_value());
  CHECK(node->name == "system:node:n1");
  CHECK(node->groups == std::vector<std::string>{"system:nodes", "system:authenticated"});
  CHECK(node->extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
  CHECK(f.ask(basic("node:secret"), node_certificate)->name == "node");  // both good: Basic wins
  CHECK(f.ask(basic("node:wrong"), node_certificate)->name == "system:node:n1");
  // A clock that is set right while a connection stands: of the client CA and of the front proxy's.
  for (auto& certificate : {node_certificate, front::leaf(f.proxy_ca, "system:auth-proxy")}) {
    auto as_ann = front::with({{"X-Remote-User", "ann"}});
    union_authenticator a(f.settings, nullptr, *f.b.c.objects);
    net::http::connection_info stands;
    stands.peer_certificates = {certificate};
    for (auto wrong : {-std::chrono::hours(24), std::chrono::hours(24 * 400)})
      CHECK(a.identify(as_ann, stands, f.b.c.now(), system_wall_time() + wrong).error().code == 401);
    CHECK(a.identify(as_ann, stands, f.b.c.now(), system_wall_time()).has_value());
  }
  CHECK(f.ask({}, front::leaf(f.foreign_ca, "x")).error().code == 401);
  CHECK(f.ask({}, node_certificate, std::chrono::hours(24 * 400)).error().code == 401);
  CHECK(f.ask({}, "no certificate").error().code == 401);

  auto token = std::string(f.b.token_for("{}")["status"]["token"].as_string());
  CHECK(f.ask(front::with({{"Authorization", "Bearer " + token}}))->name == "system:serviceaccount:default:robot");
  CHECK(f.ask(front::with({{"Authorization", "Bearer x" + token}})).error().code == 401);
  auto protocol = "base64url.bearer.authorization.k8s.io." + base64url(as_bytes(token));
  CHECK(f.ask(front::with({{"Upgrade", "websocket"},
                           {"Connection", "Upgrade"},
                           {"Sec-WebSocket-Protocol", "v4.channel.k8s.io, " + protocol}}))
            ->name == "system:serviceaccount:default:robot");
  CHECK(f.ask(front::with({{"Sec-WebSocket-Protocol", protocol}})).error().code == 401);
  for (auto& offered : {protocol, protocol + ", " + protocol + ", v4.channel.k8s.io",
                        std::string("base64url.bearer.authorization.k8s.io.%%, v4.channel.k8s.io")})
    CHECK_MESSAGE(
        f.ask(front::with({{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Protocol", offered}}))
                .error()
                .code == 401,
        offered);

  auto remote =
      front::with({{"x-remote-user", "ann"}, {"X-Remote-Group", "dev"}, {"X-Remote-Extra-Team%2Fname", "red"}});
  auto through = f.ask(remote, front::leaf(f.proxy_ca, "system:auth-proxy"));
  REQUIRE(through.has_value());
  CHECK(through->name == "ann");
  CHECK(through->groups == std::vector<std::string>{"dev", "system:authenticated"});
  CHECK(through->extra.contains("team/name"));
  CHECK(f.ask(remote, front::leaf(f.proxy_ca, "other")).error().code == 401);
  CHECK(f.ask(remote, node_certificate)->name == "system:node:n1");
  CHECK(f.ask(remote).error().code == 401);

  f.settings.anonymous = true;
  CHECK(f.ask({})->name == "system:anonymous");
  CHECK(f.ask({})->groups == std::vector<std::string>{"system:unauthenticated"});
  CHECK(f.ask(front::with({{"Authorization", "Bearer bad"}})).error().code == 401);
  CHECK(f.ask({}, front::leaf(f.foreign_ca, "x")).error().code == 401);
}

}  // namespace
}  // namespace kedge::api
