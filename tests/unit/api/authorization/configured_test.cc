// Who is asked whether they may: the configuration's errors, the order, and a webhook's answers.
#include "api/authorization/configured.h"

#include <fmt/format.h>

#include "../../net/support.h"
#include "../access_harness.h"
#include "api/authorization/authorization.h"
#include "crypto/files.h"
#include "support/temporary_folder.h"

namespace kedge::api {
namespace {

using namespace testing;

constexpr std::string_view head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n";

TEST_CASE("what is wrong with an authorization configuration is named, all of it") {
  auto refusal = [](std::string_view text) {
    auto read = parse_authorization(std::string(head) + std::string(text));
    return read ? std::string() : read.error().message;
  };
  CHECK(refusal("authorizers: []") == "authorizers: Required value: at least one authorization mode must be defined");
  CHECK(refusal("authorizers: [{type: RBAC, name: a}, {type: Node, name: b}]").empty());
  auto all = refusal(R"(
authorizers:
- {type: RBAC, name: a, webhook: {}}
- {type: RBAC, name: a}
- {type: ABAC, name: B_}
- {type: Webhook, name: c}
- {type: Webhook, name: d, webhook: {timeout: 40s, authorizedTTL: -1m, subjectAccessReviewVersion: v2, failurePolicy: Never,
   matchConditions: [{expression: "true"}], connectionInfo: {type: InClusterConfig}}}
- {type: Webhook, name: e, webhook: {connectionInfo: {type: KubeConfigFile, kubeConfigFile: here}}, more: 1}
)");
  for (auto part : {"authorizers[0].webhook: Invalid value", "authorizers[1].type: Duplicate value: \"RBAC\"",
                    "authorizers[1].name: Duplicate value: \"a\"", "authorizers[2].type: Unsupported value: \"ABAC\"",
                    "authorizers[2].name: Invalid value: \"B_\"", "authorizers[3].webhook: Required value",
                    "authorizers[4].timeout: Invalid value: \"40s\": must be > 0s and <= 30s",
                    "authorizers[4].authorizedTTL: Invalid value: \"-1m0s\": must be > 0s",
                    "authorizers[4].subjectAccessReviewVersion: Unsupported value: \"v2\"",
                    "authorizers[4].failurePolicy: Unsupported value: \"Never\"",
                    "authorizers[4].matchConditionSubjectAccessReviewVersion: Required value: required if",
                    "authorizers[4].connectionInfo.type: Forbidden", "authorizers[5].timeout: Required value"})
    CHECK_MESSAGE(all.find(part) != std::string::npos, all);
}

TEST_CASE("modes are authorizers in their order") {
  auto modes = authorization_of_modes({"Node", "RBAC", "AlwaysDeny"}, {});
  REQUIRE(modes.has_value());
  CHECK(modes->size() == 3);
  CHECK((*modes)[1].name == "rbac");
  CHECK(!authorization_of_modes({"ABAC"}, {}).has_value());
  CHECK(!authorization_of_modes({"RBAC", "RBAC"}, {}).has_value());
  CHECK(!authorization_of_modes({"Webhook"}, {}).has_value());
  CHECK(!authorization_of_modes({}, {}).has_value());
}

struct webhook_world {
  test::pem_pair pair = test::make_certificate("localhost");
  std::vector<json::value> asked;
  std::string says = R"({"allowed":true,"reason":"so"})";
  int code = 200;
  test::running_server server{[this](net::http::exchange& e) -> task<void> {
                                asked.push_back(*json::parse(*co_await e.read_all()));
                                (void)co_await e.respond({.status = code}, R"({"status":)" + says + "}");
                              },
                              test::with_tls(pair)};
  authorizer_settings settings() {
    auto config = parse_kubeconfig(
        fmt::format("current-context: c\ncontexts: [{{name: c, context: {{cluster: k}}}}]\nclusters: [{{name: k, "
                    "cluster: {{server: 'https://127.0.0.1:{}', certificate-authority-data: {}}}}}]\n",
                    server.at().port, base64(as_bytes(pair.certificate))),
        "");
    REQUIRE(config.has_value());
    authorizer_settings out{authorizer_type::webhook, "hook", {}};
    out.webhook.server = *config;
    out.webhook.version = "v1";
    return out;
  }
};

TEST_CASE("a webhook is asked once, in its turn, and again when the configuration says another") {
  test::on_each_backend([]() -> task<void> {
    webhook_world w;
    const store::snapshot nothing;
    using kind = decision::kind;
    auto state = std::make_shared<authorization_state>(authorization_configuration{w.settings()});
    configured_authorizer may(state);
    auto question = ask(user("ann"), "get", "apps", "deployments/scale", "default", "d");
    // Who can't wait is refused, and nobody behind it is asked.
    CHECK(may.authorize(question, nothing).what == kind::no_opinion);
    CHECK(may.has_open_question());
    auto d = co_await decide(may, question, nothing);
    CHECK((d.what == kind::allow && d.reason == "so"));
    CHECK(!may.has_open_question());
    CHECK(may.authorize(question, nothing).what == kind::allow);
    REQUIRE(w.asked.size() == 1);
    CHECK(json::write(w.asked[0]["spec"]) ==
          R"({"resourceAttributes":{"namespace":"default","verb":"get","group":"apps","version":"v1","resource":)"
          R"("deployments","subresource":"scale","name":"d"},"user":"ann","groups":["system:authenticated"]})");
    CHECK(may.authorize(ask(admin(), "get", "", "pods"), nothing).what == kind::allow);
    w.says = R"({"allowed":false,"denied":true,"reason":"no"})";
    CHECK((co_await decide(may, ask(user("bob"), "get", "", "pods"), nothing)).what == kind::deny);
    w.says = R"({"allowed":false,"reason":"who knows"})";
    CHECK((co_await decide(may, ask(user("cid"), "get", "", "pods"), nothing)).reason == "hook: who knows");
    // Not remembered: each question is put, and each answered.
    auto forgetful = w.settings();
    forgetful.webhook.keeps_authorized = forgetful.webhook.keeps_unauthorized = false;
    w.says = R"({"allowed":true})";
    state->use({forgetful});
    w.asked.clear();
    for (int i = 0; i < 3; ++i) CHECK((co_await decide(may, question, nothing)).what == kind::allow);
    CHECK(w.asked.size() == 3);
    // Nobody answers: as the failure policy says.
    w.code = 403;
    for (bool denies : {false, true}) {
      forgetful.webhook.denies_on_error = denies;
      state->use({forgetful, {authorizer_type::always_allow, "all", {}}});
      CHECK((co_await decide(may, question, nothing)).what == (denies ? kind::deny : kind::allow));
    }
  });
}

TEST_CASE("a webhook is asked what its match conditions let through, and what can't be told is an error") {
  test::on_each_backend([]() -> task<void> {
    webhook_world w;
    const store::snapshot nothing;
    using kind = decision::kind;
    auto with = [&](std::string_view conditions, bool denies) {
      findings found;
      const auto document = yaml("{matchConditions: " + std::string(conditions) + "}");
      fields f(document, "", found);
      auto out = w.settings();
      out.webhook.asked_if = match_conditions::read(f);
      REQUIRE(found.wrong.empty());
      out.webhook.denies_on_error = denies;
      return authorization_configuration{out};
    };
    auto state = std::make_shared<authorization_state>(with(R"yaml([
      {expression: "has(request.resourceAttributes) && request.resourceAttributes.namespace == 'default'"},
      {expression: "request.user != 'bob' && request.groups.exists(g, g == 'system:authenticated')"},
      {expression: "request.?resourceAttributes.fieldSelector.requirements.orValue([]).size() == 0"}])yaml",
                                                            false));
    configured_authorizer may(state);
    w.asked.clear();
    CHECK((co_await decide(may, ask(user("ann"), "get", "", "pods", "default"), nothing)).what == kind::allow);
    CHECK((co_await decide(may, ask(user("ann"), "get", "", "pods", "other"), nothing)).what == kind::no_opinion);
    CHECK((co_await decide(may, ask(user("bob"), "get", "", "pods", "default"), nothing)).what == kind::no_opinion);
    auto narrowed = ask(user("ann"), "list", "", "pods", "default");
    narrowed.fields = *field_selector::parse("spec.nodeName=a");
    CHECK((co_await decide(may, narrowed, nothing)).what == kind::no_opinion);
    CHECK(w.asked.size() == 1);
    for (bool denies : {false, true}) {
      state->use(with(R"([{expression: "request.extra['x'][0] == 'y'"}, {expression: "true"}])", denies));
      auto d = co_await decide(may, ask(user("ann"), "get", "", "pods", "default"), nothing);
      CHECK(d.what == (denies ? kind::deny : kind::no_opinion));
      CHECK(d.error ==
            "cel evaluation error: expression 'request.extra['x'][0] == 'y'' resulted in error: no such key: x");
      // One that surely doesn't hold outweighs it.
      state->use(with(R"([{expression: "request.extra['x'][0] == 'y'"}, {expression: "false"}])", denies));
      CHECK((co_await decide(may, ask(user("ann"), "get", "", "pods", "default"), nothing)).error.empty());
    }
    CHECK(w.asked.size() == 1);
  });
}

}  // namespace
}  // namespace kedge::api
