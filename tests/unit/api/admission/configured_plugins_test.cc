// Plugins that act as a file says: EventRateLimit, ImagePolicyWebhook, ResourceQuota's limited resources.
#include <fmt/format.h>

#include "../../net/support.h"
#include "../access_harness.h"
#include "api/admission/event_rate_limit.h"
#include "api/admission/image_policy.h"

namespace kedge::api {
namespace {

using namespace testing;

result<admission_configuration> read(std::string_view plugin, std::string_view configuration) {
  return parse_admission(fmt::format("apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
                                     "- name: {}\n  configuration: {}\n",
                                     plugin, configuration),
                         "");
}

std::string wrong(std::string_view plugin, std::string_view configuration) {
  auto made = read(plugin, configuration);
  return made ? std::string() : made.error().message;
}

TEST_CASE("what plugins are told wrongly is named") {
  constexpr std::string_view events = "{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, ";
  CHECK(wrong("EventRateLimit", std::string(events) + "limits: []}") ==
        "plugins[0].configuration: limits: Invalid value: []: must not be empty");
  CHECK(wrong("EventRateLimit", std::string(events) + "limits: [{type: Pod, qps: 0, burst: -1}, {type: User, qps: 1, "
                                                      "burst: 1, cacheSize: -1}]}") ==
        "plugins[0].configuration: [limits[0].type: Unsupported value: \"Pod\": supported values: \"Namespace\", "
        "\"Server\", \"SourceAndObject\", \"User\", limits[0].burst: Invalid value: -1: must be positive, "
        "limits[0].qps: Invalid value: 0: must be positive, limits[1].cacheSize: Invalid value: -1: must not be "
        "negative]");
  CHECK(wrong("ImagePolicyWebhook", "{imagePolicy: {allowTTL: 100000}}") ==
        "plugins[0].configuration: valid value is between 1s and 30m0s, got 100000 × 1s");
  CHECK(wrong("ImagePolicyWebhook", "{imagePolicy: {kubeConfigFile: /nowhere/at/all}}").find("/nowhere/at/all") !=
        std::string::npos);
  CHECK(wrong("ResourceQuota",
              "{apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, "
              "limitedResources: [{matchContains: [x]}]}") ==
        "plugins[0].configuration: limitedResources[0].resource: Required value");
  CHECK(wrong("AlwaysPullImages", "{}").starts_with("plugins[0].name: Unsupported value"));
  CHECK(!check_configured({}, {"EventRateLimit"}).has_value());
  CHECK(check_configured({}, {"ImagePolicyWebhook"}).error().message.ends_with("no config specified"));
  CHECK(check_configured({}, {"NodeRestriction"}).has_value());
}

TEST_CASE("EventRateLimit: buckets that fill again, and the oldest that goes") {
  using kind = event_limit::kind;
  event_limiter limits({{kind::server, 10, 4}, {kind::name_space, 1, 2, 2}});
  const time_point begin{std::chrono::hours(1)};
  auto in = [](std::string ns) { return event_keys{std::move(ns), "u", "o"}; };
  CHECK(limits.take(in("a"), begin).empty());
  CHECK(limits.take(in("a"), begin).empty());
  CHECK(limits.take(in("a"), begin) == std::vector<std::string>{"limit reached on type Namespace for key a"});
  CHECK(limits.take(in("b"), begin).empty());
  CHECK(limits.take(in("b"), begin) == std::vector<std::string>{"limit reached on type Server for key "});
  // A tenth of a second is one more for the server, none for the namespace.
  const auto later = begin + std::chrono::milliseconds(100);
  CHECK(limits.take(in("a"), later) == std::vector<std::string>{"limit reached on type Namespace for key a"});
  CHECK(limits.take(in("a"), begin + std::chrono::seconds(2)).empty());
  // Two are remembered: the first one begins anew.
  CHECK(limits.take(in("c"), begin + std::chrono::seconds(2)).empty());
  CHECK(limits.take(in("b"), begin + std::chrono::seconds(2)).empty());
  CHECK(limits.take(in("a"), begin + std::chrono::seconds(2)).empty());
}

TEST_CASE("EventRateLimit: only Events of the core group that would be written, in the real server's words") {
  cluster c;
  c.put("{kind: Namespace, metadata: {name: default}, status: {phase: Active}}");
  auto made = read("EventRateLimit",
                   "{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: User, "
                   "qps: 1, burst: 1}]}");
  REQUIRE(made.has_value());
  auto limits = std::make_shared<event_limiter>(made->event_limits);
  gate g(c, {.enable = {"EventRateLimit"}, .configuration = *made, .events = limits, .home = &c.loop});
  constexpr std::string_view event =
      "{apiVersion: v1, kind: Event, metadata: {name: e, namespace: default}, involvedObject: {namespace: default}}";
  CHECK(g.create(user("ann"), event).good);
  auto refused = g.create(user("ann"), event);
  CHECK(refused.why.code == 429);
  CHECK(refused.why.reason == "TooManyRequests");
  CHECK(refused.message == "Too many requests: limit reached on type User for key ann");
  CHECK(g.create(user("bob"), event).good);
  CHECK(g.create(user("ann"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: default}}").good);
  // Not turned on, though it is configured: nothing is limited.
  gate off(c, {.configuration = *made, .events = limits, .home = &c.loop});
  CHECK(off.create(user("ann"), event).good);
}

TEST_CASE("ResourceQuota: what is limited needs a quota that covers it") {
  cluster c;
  c.put(R"(
{kind: Namespace, metadata: {name: default}, status: {phase: Active}}
---
{kind: Namespace, metadata: {name: covered}, status: {phase: Active}}
---
{kind: PriorityClass, metadata: {name: high}, value: 1000}
---
{kind: ResourceQuota, metadata: {name: q, namespace: covered}, spec: {hard: {pods: '5', gold.storageclass.storage.k8s.io/persistentvolumeclaims: '5'}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [high]}]}}, status: {hard: {pods: '5'}, used: {pods: '0'}}}
---
{kind: ResourceQuota, metadata: {name: r, namespace: covered}, spec: {hard: {gold.storageclass.storage.k8s.io/persistentvolumeclaims: '5'}}, status: {hard: {gold.storageclass.storage.k8s.io/persistentvolumeclaims: '5'}, used: {gold.storageclass.storage.k8s.io/persistentvolumeclaims: '0'}}}
)");
  auto made =
      read("ResourceQuota",
           "{apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, limitedResources: "
           "[{resource: persistentvolumeclaims, matchContains: [gold.storageclass.storage.k8s.io/]}, {resource: "
           "pods, matchScopes: [{scopeName: PriorityClass, operator: In, values: [high]}]}]}");
  REQUIRE_MESSAGE(made.has_value(), (made ? std::string() : made.error().message));
  gate g(c, {.disable = {"ServiceAccount"}, .configuration = *made});
  auto claim = [](std::string_view ns, std::string_view storage_class) {
    return fmt::format(
        "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: p, namespace: {}}}, spec: "
        "{{storageClassName: {}, resources: {{requests: {{storage: 1Gi}}}}}}}}",
        ns, storage_class);
  };
  CHECK(g.create(admin(), claim("default", "silver")).good);
  CHECK(g.create(admin(), claim("default", "gold")).message ==
        "persistentvolumeclaims \"p\" is forbidden: insufficient quota to consume: "
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims,"
        "gold.storageclass.storage.k8s.io/requests.storage");
  auto pod = [](std::string_view ns, std::string_view more) {
    return fmt::format(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: {}}}, spec: {{containers: "
        "[{{name: c, image: i}}]{}}}}}",
        ns, more);
  };
  CHECK(g.create(admin(), pod("default", "")).good);
  auto refused = g.create(admin(), pod("default", ", priorityClassName: high"));
  CHECK(refused.message == "insufficient quota to match these scopes: [{PriorityClass In [high]}]");
  CHECK(refused.why.code == 500);
  CHECK(g.create(admin(), pod("covered", ", priorityClassName: high")).good);
}

TEST_CASE("ImagePolicyWebhook asks, remembers, and fails as it is told to") {
  test::on_each_backend([]() -> task<void> {
    const test::pem_pair pair = test::make_certificate("localhost");
    std::vector<json::value> asked;
    std::string says = R"({"allowed":true,"auditAnnotations":{"a":"b"}})";
    int code = 200;
    test::running_server server{[&](net::http::exchange& e) -> task<void> {
                                  asked.push_back(*json::parse(*co_await e.read_all()));
                                  (void)co_await e.respond({.status = code}, R"({"status":)" + says + "}");
                                },
                                test::with_tls(pair)};
    auto to = parse_kubeconfig(
        fmt::format("current-context: c\ncontexts: [{{name: c, context: {{cluster: k}}}}]\nclusters: [{{name: k, "
                    "cluster: {{server: 'https://127.0.0.1:{}', certificate-authority-data: {}}}}}]\n",
                    server.at().port, base64(as_bytes(pair.certificate))),
        "");
    REQUIRE(to.has_value());
    image_policy_settings settings{.server = *to, .retry_pause = std::chrono::milliseconds(1)};
    const auto who = ask(user("ann"), "create", "", "pods", "default", "p");
    auto judged = [&](image_policy& by, std::string_view image, json::value& pod) -> task<status> {
      pod =
          yaml(fmt::format("{{kind: Pod, metadata: {{name: p, annotations: {{x.image-policy.k8s.io/t: '1', other: "
                           "'2'}}}}, spec: {{containers: [{{name: c, image: {}}}], initContainers: [{{name: i, "
                           "image: j}}]}}}}",
                           image));
      admission_request r{.what = operation::create, .who = who, .kind = "Pod", .object = &pod};
      REQUIRE(image_policy::concerns(r));
      auto done = co_await by.judge(r);
      co_return done ? status{.code = static_cast<int>(r.annotations.size())} : done.error();
    };
    json::value pod;
    image_policy by(settings);
    CHECK((co_await judged(by, "a", pod)).code == 1);  // the annotation of the answer
    CHECK((co_await judged(by, "a", pod)).code == 1);
    REQUIRE(asked.size() == 1);
    CHECK(json::write(asked[0]["spec"]) == R"({"containers":[{"image":"a"},{"image":"j"}],)"
                                           R"("annotations":{"x.image-policy.k8s.io/t":"1"},"namespace":"default"})");
    says = R"({"allowed":false,"reason":"unsigned"})";
    CHECK((co_await judged(by, "b", pod)).message ==
          "pods \"p\" is forbidden: image policy webhook backend denied one or more images: unsigned");
    says = R"({"allowed":false})";
    CHECK((co_await judged(by, "c", pod)).message ==
          "pods \"p\" is forbidden: one or more images rejected by webhook backend");
    code = 403;
    CHECK((co_await judged(by, "d", pod)).code == 403);
    settings.allows_on_failure = true;
    image_policy open(settings);
    CHECK((co_await judged(open, "d", pod)).code == 1);
    CHECK(pod["metadata"]["annotations"]["alpha.image-policy.k8s.io/failed-open"].as_string() == "true");
  });
}

}  // namespace
}  // namespace kedge::api
