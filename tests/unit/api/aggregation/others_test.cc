// The handler with other API servers behind it, and the observer that looks after these: with a server that is played.
#include "api/aggregation/observer.h"
#include "harness.h"

namespace kedge::api {
namespace {

using aggregation::api_service_ref;
using aggregation::endpoint_address;

// Answers what it is told to, and remembers who asked.
class played_server final : public aggregation::backend {
 public:
  std::map<std::string, net::http::client_response> answers;  // by path
  std::vector<std::string> asked;                             // "user path"
  bool reachable = true;

  task<int> forward(net::http::exchange& e, api_service_ref to, own_part own) override {
    asked.push_back(own.as->name + " " + e.request().target);
    CHECK_FALSE(own.audit_id.empty());
    CHECK(own.answer.get("Audit-Id") == own.audit_id);
    CHECK(own.answer.has("Cache-Control"));
    CHECK_FALSE(own.answer.has("Content-Type"));
    auto text = to->name + " got " + *co_await e.read_all();
    (void)co_await e.respond({.status = 207, .headers = {}}, text);
    co_return 207;
  }
  result<endpoint_address> resolve(const aggregation::api_service&) override {
    return endpoint_address{"", "10.9.9.9", 8443};
  }
  task<result<net::http::client_response>> get(api_service_ref, endpoint_address, std::string path, net::http::headers,
                                               user_ref as, std::size_t) override {
    asked.push_back(as->name + " " + path);
    if (!reachable) co_return fail(errc::refused, "nobody is here");
    auto found = answers.find(path);
    co_return found == answers.end() ? net::http::client_response{.status = 404, .headers = {}, .body = {}}
                                     : found->second;
  }
};

struct aggregated_world : api_world {
  played_server played;
  std::unique_ptr<aggregation::services> services;
  std::unique_ptr<aggregation::observer> observer;
  reactor::scope work;

  aggregated_world() {
    services = std::make_unique<aggregation::services>(*objects);
    services->follow();
    observer = std::make_unique<aggregation::observer>(*services, played, *client, measures);
    handler = std::make_unique<api_handler>(
        api_parts{.objects = *objects,
                  .who = who,
                  .may = may,
                  .rules = rules,
                  .checks = checks,
                  .measures = measures,
                  .ranges = ranges,
                  .server_address = "10.0.0.1:6443",
                  .others = {.services = services.get(),
                             .ways = &played,
                             .documents = [this]() -> task<std::shared_ptr<const aggregation::documents>> {
                               co_return observer->now();
                             }}});
    work.spawn(observer->run());
    answer(R"({"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"x.io"},"versions":[{"version":"v1",
           "resources":[{"resource":"things","verbs":["list"]}]}]}]})",
           "/apis");
    answer("{}", "/apis/x.io/v1");
  }
  ~aggregated_world() {
    observer->stop();
    work.cancel();
    handler.reset();
    observer.reset();
    services.reset();
  }
  void answer(std::string_view body, std::string path) {
    played.answers[std::move(path)] = {.status = 200, .headers = {}, .body = std::string(body)};
  }
  void register_service(std::string_view group = "x.io", int priority = 1000) {
    must(post("/apis/apiregistration.k8s.io/v1/apiservices",
              fmt::format(
                  R"({{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{{"name":"v1.{0}"}},
      "spec":{{"group":"{0}","version":"v1","service":{{"namespace":"default","name":"api"}},"insecureSkipTLSVerify":true,
      "groupPriorityMinimum":{1},"versionPriority":15}}}})",
                  group, priority)),
         201);
  }
  void make_service() {
    must(post("/api/v1/namespaces/default/services",
              R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"api"},"spec":{"ports":[{"port":443}]}})"),
         201);
  }
  void make_slice() {
    must(post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
              R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"api-1",
        "labels":{"kubernetes.io/service-name":"api"}},"addressType":"IPv4","ports":[{"name":"","port":8443}],
        "endpoints":[{"addresses":["10.9.9.9"]}]})"),
         201);
  }
  json::value condition(std::string_view name = "v1.x.io") {
    return must(get(fmt::format("/apis/apiregistration.k8s.io/v1/apiservices/{}", name)),
                200)["status"]["conditions"][0];
  }
  template <typename F>
  void eventually(F condition) {
    const auto deadline = monotonic_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      REQUIRE(monotonic_clock::now() < deadline);
      loop.turn(monotonic_clock::now() + std::chrono::milliseconds(5));
    }
  }
  void until(std::string_view reason) {
    eventually([&] { return condition()["reason"].as_string() == reason; });
  }
  std::string aggregated() {
    return get("/apis", {{"Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}}).body;
  }
};

}  // namespace

TEST_CASE("an API service's condition follows its Service, its endpoints and its server") {
  aggregated_world w;
  w.register_service();
  w.until("ServiceNotFound");
  CHECK(w.get("/apis/x.io/v1/things").body == "service unavailable\n");
  CHECK(w.get("/apis/x.io/v1/things").code == 503);
  w.make_service();
  w.until("EndpointsNotFound");
  w.played.reachable = false;
  w.make_slice();
  w.until("FailedDiscoveryCheck");
  CHECK(w.condition()["message"].as_string() ==
        "failing or missing response from https://10.9.9.9:8443/apis/x.io/v1: Get "
        "\"https://10.9.9.9:8443/apis/x.io/v1\": dial tcp 10.9.9.9:8443: connect: connection refused");
  w.played.reachable = true;
  w.played.answers["/apis/x.io/v1"].status = 403;
  w.eventually([&] {
    return w.condition()["message"].as_string().ends_with("bad status from https://10.9.9.9:8443/apis/x.io/v1: 403");
  });
  w.played.answers["/apis/x.io/v1"].status = 200;
  w.until("Passed");
  CHECK(w.condition()["status"].as_string() == "True");
  CHECK(std::ranges::find(w.played.asked, "system:kube-aggregator /apis/x.io/v1") != w.played.asked.end());
  // Whoever writes the status himself is corrected.
  w.must(w.patch("/apis/apiregistration.k8s.io/v1/apiservices/v1.x.io/status",
                 R"({"status":{"conditions":[{"type":"Available","status":"False","reason":"Mine"}]}})", merge),
         200);
  w.until("Passed");
}

TEST_CASE("requests for another server's group are handed over as they are, once they are allowed") {
  aggregated_world w;
  w.make_service();
  w.make_slice();
  w.register_service();
  w.eventually([&] { return w.get("/apis/x.io/v1").code == 207; });
  w.played.asked.clear();
  auto posted = w.post("/apis/x.io/v1/namespaces/default/things?dryRun=All", "some bytes");
  CHECK(posted.code == 207);
  CHECK(posted.body == "v1.x.io got some bytes");
  CHECK(w.get("/apis/x.io/v1").code == 207);
  CHECK(w.get("/apis/x.io/v1/things?watch=1").code == 207);
  CHECK(w.ask("OPTIONS", "/apis/x.io/v1/namespaces/a/things/b/proxy/c%2fd").code == 207);
  CHECK(w.played.asked == std::vector<std::string>{"tester /apis/x.io/v1/namespaces/default/things?dryRun=All",
                                                   "tester /apis/x.io/v1", "tester /apis/x.io/v1/things?watch=1",
                                                   "tester /apis/x.io/v1/namespaces/a/things/b/proxy/c%2fd"});
  // What follows a subresource is the other server's business, where this one has nothing.
  CHECK(w.get("/apis/x.io/v1/namespaces/a/things/b/portforward/80/tcp").code == 207);
  CHECK(w.get("/api/v1/namespaces/a/pods/b/log/c").code == 404);
  w.played.asked.clear();
  for (auto path :
       {"/apis/x.io/v1/namespaces/mine/../other/things", "/apis/x.io/v1/namespaces/mine/%2e%2e/other/things",
        "/apis/x.io/v1/namespaces/mine/things/..%2f..%2fother%2fthings", "/apis/x.io/v1/namespaces/mine/./things",
        "/apis/x.io/v1/../../../api/v1/secrets", "/apis/x.io/v1/namespaces/mine/things/a/b/%2E%2E/%2e/c"}) {
    CAPTURE(path);
    CHECK(w.get(path).code == 404);
    CHECK(w.played.asked.empty());
  }
  w.may.denied_resource = "things";
  CHECK(w.get("/apis/x.io/v1/things").code == 403);
  CHECK(w.played.asked.empty());
  w.may.denied_resource.clear();
  CHECK(w.get("/apis/y.io/v1/things").code == 404);
  CHECK(w.get("/apis/x.io/v2/things").code == 404);
}

TEST_CASE("discovery has others' groups in their order, stale ones too, and forgets those that go") {
  aggregated_world w;
  CHECK(w.aggregated().find("x.io") == std::string::npos);
  w.register_service("x.io", 17'450);
  w.until("ServiceNotFound");
  w.eventually([&] { return w.aggregated().find(R"([{"version":"v1","freshness":"Stale"}])") != std::string::npos; });
  w.make_service();
  w.make_slice();
  w.until("Passed");
  w.eventually([&] {
    return w.aggregated().find(
               R"("versions":[{"version":"v1","resources":[{"resource":"things","verbs":["list"]}],"freshness":"Current"}])") !=
           std::string::npos;
  });
  auto groups = w.must(w.get("/apis"), 200);
  CHECK(groups["groups"][0]["name"].as_string() == "apiregistration.k8s.io");
  std::size_t at = 0, jobs = 0;
  for (std::size_t i = 0; i < groups["groups"].size(); ++i) {
    if (groups["groups"][i]["name"].as_string() == "x.io") at = i;
    if (groups["groups"][i]["name"].as_string() == "batch") jobs = i;
  }
  CHECK(at > 0);
  CHECK(at < jobs);  // by its priority, before 17'400
  CHECK(w.must(w.get("/apis/x.io"), 200)["preferredVersion"]["groupVersion"].as_string() == "x.io/v1");
  CHECK(w.get("/").body.find("\"/apis/x.io/v1\"") != std::string::npos);
  w.must(w.remove("/apis/apiregistration.k8s.io/v1/apiservices/v1.x.io"), 200);
  w.eventually([&] { return w.aggregated().find("x.io") == std::string::npos; });
  CHECK(w.get("/apis/x.io").code == 404);
  w.eventually([&] { return w.observer->now()->empty(); });
}

TEST_CASE("a group that is built in is another server's while an APIService says so, and comes back") {
  aggregated_world w;
  w.make_service();
  w.make_slice();
  w.answer("{}", "/apis/batch/v1");
  w.register_service("batch");
  w.eventually([&] { return w.get("/apis/batch/v1/jobs").code == 207; });
  CHECK(w.get("/apis/apps/v1/deployments").code == 200);
  w.must(w.remove("/apis/apiregistration.k8s.io/v1/apiservices/v1.batch"), 200);
  w.eventually([&] { return w.get("/apis/batch/v1/jobs").code == 200; });
}

TEST_CASE("OpenAPI has others' documents: v3 from them, v2 merged") {
  aggregated_world w;
  w.answer(R"({"paths":{"apis/x.io/v1":{"serverRelativeURL":"/openapi/v3/apis/x.io/v1?hash=12"}}})", "/openapi/v3");
  w.answer(R"({"paths":{"/apis/x.io/v1/things":{"get":{"schema":{"$ref":"#/definitions/io.x.Thing"}}}},
             "definitions":{"io.x.Thing":{"type":"object","description":"one of them"}}})",
           "/openapi/v2");
  const auto before = std::string(w.get("/openapi/v2").headers.get("ETag"));
  w.make_service();
  w.make_slice();
  w.register_service();
  w.eventually([&] { return w.get("/openapi/v3").body.find("/openapi/v3/apis/x.io/v1?hash=12") != std::string::npos; });
  auto swagger = w.must(w.get("/openapi/v2"), 200);
  CHECK(swagger["definitions"]["io.x.Thing"]["description"].as_string() == "one of them");
  CHECK(swagger["paths"]["/apis/x.io/v1/things"].is_object());
  CHECK(w.get("/openapi/v2").headers.get("ETag") != before);
  CHECK(w.get("/openapi/v2", {{"Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}})
            .body.find("one of them") != std::string::npos);
  w.played.asked.clear();
  CHECK(w.get("/openapi/v3/apis/x.io/v1?hash=12").code == 207);
  CHECK(w.played.asked == std::vector<std::string>{"tester /openapi/v3/apis/x.io/v1?hash=12"});
}

}  // namespace kedge::api
