// hooked_world.h: the API with admission and conversion by webhook, and webhooks as servers on the same loop.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "../../net/support.h"
#include "../harness.h"
#include "api/admission/chain.h"
#include "api/admission/webhook/webhooks.h"
#include "api/callout/client.h"
#include "api/custom/conversion.h"
#include "api/custom/tables.h"
#include "api/metrics/conversion_metrics.h"
#include "base/strings.h"
#include "crypto/key.h"

namespace kedge::api {

// This machine's own way to wherever.
struct plain_egress final : callout::egress {
  int dialled = 0;
  task<result<std::unique_ptr<reactor::stream>>> to_endpoint(std::string address, std::uint16_t port,
                                                             std::string) override {
    ++dialled;
    return reactor::os_network().connect({std::move(address), port});
  }
  task<result<std::unique_ptr<reactor::stream>>> to_host(std::string host, std::uint16_t port) override {
    ++dialled;
    return reactor::os_network().connect({std::move(host), port});
  }
};

// What a webhook answers, by path: the text of a whole answer, from the review that it was sent.
using script = std::function<task<std::string>(const json::value& review)>;

struct hooked_world : api_world {
  test::pem_pair pair = test::make_certificate("hook");
  std::map<std::string, script, std::less<>> scripts;
  std::map<std::string, std::vector<json::value>, std::less<>> asked;  // by path
  std::unique_ptr<test::running_server> server;
  plain_egress egress;
  rule_source* sources = nullptr;
  std::unique_ptr<authorizer> authz = make_authorizer(&sources);
  std::unique_ptr<callout::client> calls;
  std::unique_ptr<custom::converter> versions;
  std::unique_ptr<webhook::webhooks> hooks;
  std::unique_ptr<admission_chain> chain;
  std::unique_ptr<custom::tables> tables;

  hooked_world() {
    server = std::make_unique<test::running_server>(
        [this](net::http::exchange& e) -> task<void> { co_await answer(e); }, test::with_tls(pair));
    calls = std::make_unique<callout::client>(*objects, egress);
    versions = std::make_unique<custom::converter>(*calls, count_conversions(measures));
    hooks = std::make_unique<webhook::webhooks>(webhook::webhooks::parts{
        .objects = *objects, .calls = *calls, .versions = versions.get(), .measures = &measures});
    hooks->follow();
    tables = std::make_unique<custom::tables>(*objects);
    tables->convert_by(*versions);
    tables->follow();
    judge_by(admission_chain::of({}, *authz, *sources));
    for (auto name : {"default", "other"})
      must(post("/api/v1/namespaces",
                fmt::format(
                    R"({{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{0}","labels":{{"name":"{0}"}}}}}})",
                    name)),
           201);
  }
  // With webhooks, from now on.
  void judge_by(std::unique_ptr<admission_chain> made) {
    handler.reset();
    client.reset();
    chain = std::move(made);
    chain->call_webhooks(*hooks);
    handler = std::make_unique<api_handler>(api_parts{.objects = *objects,
                                                      .who = who,
                                                      .may = may,
                                                      .rules = *chain,
                                                      .checks = checks,
                                                      .measures = measures,
                                                      .ranges = ranges,
                                                      .server_address = "10.0.0.1:6443",
                                                      .custom = tables.get()});
    client = make_objects(*objects, *chain, ranges, tables.get());
  }
  // Policies and all plugins, too.
  void obey_policies() {
    auto made = admission_chain::create({}, *authz, *sources, objects.get());
    REQUIRE(made.has_value());
    (*made)->obey_policies([this] { return tables->current(); }, versions.get());
    judge_by(*std::move(made));
  }
  ~hooked_world() {
    handler.reset();
    client.reset();
    tables.reset();
    hooks.reset();
    server.reset();
  }

  task<void> answer(net::http::exchange& e) {
    std::string body;
    for (;;) {
      auto piece = co_await e.read();
      if (!piece || piece->empty()) break;
      body += as_text(piece->view());
    }
    auto review = json::parse(body);
    if (!review) co_return;
    auto path = std::string(e.request().path);
    asked[path].push_back(*review);
    auto found = scripts.find(path);
    if (found == scripts.end()) co_return;
    auto text = co_await found->second(*review);
    if (text == "abort") co_return e.abort();
    net::http::response head{.status = 200};
    if (text.starts_with("redirect ")) {
      head.status = 307;
      head.headers.add("Location", text.substr(9));
      text.clear();
    }
    head.headers.add("Content-Type", "application/json");
    (void)co_await e.respond(head, text);
  }

  // The response to a review.
  void on(std::string path, std::function<std::string(const json::value& request)> response) {
    scripts[std::move(path)] = [response](const json::value& review) -> task<std::string> {
      co_return respond(review, response(review["request"]));
    };
  }
  static std::string respond(const json::value& review, std::string_view members) {
    return fmt::format(R"({{"apiVersion":"{}","kind":"{}","response":{{"uid":"{}"{}}}}})",
                       review["apiVersion"].as_string(), review["kind"].as_string(),
                       review["request"]["uid"].as_string(), members);
  }
  std::string url(std::string_view path) const {
    return fmt::format("https://localhost:{}{}", server->at().port, path);
  }
  std::string client_config(std::string_view path) const {
    return fmt::format(R"({{"url":"https://127.0.0.1:{}{}","caBundle":"{}"}})", server->at().port, path,
                       base64(as_bytes(pair.certificate)));
  }
  // A configuration of one webhook: `more` are members of it.
  void hook(std::string_view kind, std::string_view name, std::string_view path, std::string_view rules,
            std::string_view more = "", std::string config = {}) {
    if (config.empty()) config = client_config(path);
    auto text = fmt::format(
        R"({{"apiVersion":"admissionregistration.k8s.io/v1","kind":"{0}WebhookConfiguration","metadata":{{"name":"{1}"}},"webhooks":[{{"name":"{1}.ex.io","admissionReviewVersions":["v1"],"sideEffects":"None","timeoutSeconds":5,"rules":{2},"clientConfig":{3}{4}}}]}})",
        kind, name, rules, config, more);
    auto plural = kind == "Mutating" ? "mutatingwebhookconfigurations" : "validatingwebhookconfigurations";
    must(post(fmt::format("/apis/admissionregistration.k8s.io/v1/{}", plural), text), 201);
    loop.turn(monotonic_clock::now() + std::chrono::milliseconds(1));  // the core hears of it
  }
};

constexpr std::string_view maps_rule =
    R"([{"operations":["*"],"apiGroups":[""],"apiVersions":["v1"],"resources":["configmaps"]}])";
constexpr std::string_view maps = "/api/v1/namespaces/default/configmaps";

inline std::string message_of(const answer_text& a) { return std::string(a.json()["message"].as_string()); }

}  // namespace kedge::api
