// Admission by webhook through the handler: real servers over TLS, honest ones and hostile ones.
#include "hooked_world.h"

namespace kedge::api {
namespace {

constexpr std::string_view admitted = R"(,"allowed":true)";

std::string patched(std::string_view patch) {
  return fmt::format(R"(,"allowed":true,"patchType":"JSONPatch","patch":"{}")", base64(as_bytes(patch)));
}

// One webhook that answers so, and what becomes of a create.
answer_text create_with(hooked_world& w, script s, std::string_view more = "") {
  w.scripts["/h"] = std::move(s);
  w.hook("Validating", "h", "/h", maps_rule, more);
  return w.post(maps, config_map("a"));
}

script saying(std::string text) {
  return [text](const json::value&) -> task<std::string> { co_return text; };
}

script hanging() {
  return [](const json::value&) -> task<std::string> {
    co_await reactor::sleep_for(std::chrono::hours(1));
    co_return "";
  };
}

}  // namespace

TEST_CASE("a validating webhook refuses, and is told what it is about") {
  hooked_world w;
  w.on("/h", [](const json::value&) {
    return R"(,"allowed":false,"status":{"message":"no","code":418,"reason":"Teapot"},"warnings":["careful"])";
  });
  w.hook("Validating", "h", "/h", maps_rule);
  auto a = w.post(std::string(maps) + "?fieldManager=me", config_map("a"));
  CHECK(a.code == 418);
  CHECK(message_of(a) == R"(admission webhook "h.ex.io" denied the request: no)");
  CHECK(a.json()["reason"].as_string() == "Teapot");
  CHECK(a.headers.get("Warning") == R"(299 - "careful")");
  REQUIRE(w.asked["/h"].size() == 1);
  auto& q = w.asked["/h"][0]["request"];
  CHECK(q["operation"].as_string() == "CREATE");
  CHECK(q["name"].as_string() == "a");
  CHECK(q["namespace"].as_string() == "default");
  CHECK(q["resource"]["resource"].as_string() == "configmaps");
  CHECK(q["userInfo"]["username"].as_string() == "tester");
  CHECK(q["options"]["fieldManager"].as_string() == "me");
  CHECK(q["object"]["data"]["k"].as_string() == "v");
  CHECK(q["oldObject"].is_null());
  CHECK(w.get(std::string(maps) + "/a").code == 404);
  CHECK(
      w.measures.text().find(
          R"(apiserver_admission_webhook_rejection_count{error_type="no_error",name="h.ex.io",operation="CREATE",rejection_code="418",type="validating"} 1)") !=
      std::string::npos);
}

TEST_CASE("a mutating webhook's patch is what is stored, and what the next one sees") {
  hooked_world w;
  w.on("/one", [](const json::value&) { return patched(R"([{"op":"add","path":"/data/one","value":"1"}])"); });
  w.on("/two", [](const json::value& q) {
    return patched(
        fmt::format(R"([{{"op":"add","path":"/data/seen","value":"{}"}}])", q["object"]["data"]["one"].as_string()));
  });
  w.hook("Mutating", "b", "/two", maps_rule);
  w.hook("Mutating", "a", "/one", maps_rule);
  auto made = w.must(w.post(maps, config_map("a")), 201);
  CHECK(made["data"]["one"].as_string() == "1");
  CHECK(made["data"]["seen"].as_string() == "1");
  // What a webhook adds is nobody's.
  CHECK(json::write(made["metadata"]["managedFields"]).find("f:one") == std::string::npos);
}

TEST_CASE("what no rule or selector names isn't asked about") {
  hooked_world w;
  w.on("/h", [](const json::value&) { return R"(,"allowed":false)"; });
  w.hook("Validating", "h", "/h", maps_rule, R"(,"namespaceSelector":{"matchLabels":{"name":"other"}})");
  w.must(w.post(maps, config_map("a")), 201);
  CHECK(w.asked["/h"].empty());
  CHECK(w.post("/api/v1/namespaces/other/configmaps", config_map("a")).code == 400);
  CHECK(w.asked["/h"].size() == 1);
}

TEST_CASE("conditions: all must hold; what can't be told is as if the webhook couldn't be asked") {
  struct row {
    std::string_view conditions, more;
    int code;  // of a create
    std::size_t asked;
  };
  const row rows[] = {
      {R"({"name":"a","expression":"true"})", "", 201, 1},
      {R"({"name":"a","expression":"object.metadata.name != 'a'"})", "", 201, 0},
      {R"({"name":"a","expression":"request.userInfo.username == 'tester' && request.operation == 'CREATE'"})", "", 201,
       1},
      {R"({"name":"a","expression":"oldObject == null && object.data.k == 'v'"},{"name":"b","expression":"false"})", "",
       201, 0},
      {R"({"name":"a","expression":"object.data.missing == 'v'"},{"name":"b","expression":"false"})", "", 201, 0},
      {R"({"name":"a","expression":"object.data.missing == 'v'"})", "", 403, 0},
      {R"({"name":"a","expression":"object.data.missing == 'v'"})", R"(,"failurePolicy":"Ignore")", 201, 0},
      {R"x({"name":"a","expression":"authorizer.group('').resource('pods').check('list').allowed()"})x", "", 201, 1},
      {R"x({"name":"a","expression":"authorizer.serviceAccount('default','x').group('').resource('pods').check('list').allowed()"})x",
       "", 201, 0},
  };
  for (auto& r : rows) {
    CAPTURE(r.conditions);
    hooked_world w;
    w.on("/h", [](const json::value&) { return std::string(admitted); });
    w.hook("Validating", "h", "/h", maps_rule, fmt::format(R"(,"matchConditions":[{}]{})", r.conditions, r.more));
    auto a = w.post(maps, config_map("a"));
    CHECK_MESSAGE(a.code == r.code, a.body);
    CHECK(w.asked["/h"].size() == r.asked);
    if (r.code == 403)
      CHECK(
          message_of(a) ==
          R"(configmaps "a" is forbidden: expression 'object.data.missing == 'v'' resulted in error: no such key: missing)");
  }
}

TEST_CASE("no patch moves an object to where its writer may not write, or says what the server says") {
  hooked_world w;
  std::string patch;
  w.on("/h", [&](const json::value&) { return patched(patch); });
  w.hook("Mutating", "h", "/h", maps_rule);
  patch = R"([{"op":"add","path":"/metadata/namespace","value":"other"}])";
  auto a = w.post(maps, config_map("a"));
  CHECK(a.code == 400);
  CHECK(message_of(a) == "the namespace of the provided object does not match the namespace sent on the request");
  CHECK(w.get("/api/v1/namespaces/other/configmaps/a").code == 404);
  patch =
      R"([{"op":"add","path":"/metadata/uid","value":"mine"},{"op":"add","path":"/metadata/creationTimestamp","value":"2001-01-01T00:00:00Z"}])";
  auto made = w.must(w.post(maps, config_map("a")), 201);
  CHECK(made["metadata"]["uid"].as_string() != "mine");
  CHECK(made["metadata"]["creationTimestamp"].as_string() > "2020");
  for (auto text : {R"([{"op":"replace","path":"/metadata/uid","value":"mine"}])",
                    R"([{"op":"replace","path":"/metadata/name","value":"b"}])",
                    R"([{"op":"replace","path":"/metadata/namespace","value":"other"}])"}) {
    CAPTURE(text);
    patch = text;
    CHECK(w.patch(std::string(maps) + "/a", R"({"data":{"k":"w"}})", merge).code == 422);
  }
  patch = "[]";
  auto after = w.must(w.patch(std::string(maps) + "/a", "{}", merge), 200);
  CHECK(after["metadata"]["uid"] == made["metadata"]["uid"]);
  CHECK(after["data"]["k"].as_string() == "v");
}

TEST_CASE("of a refused update nothing is left, and of a deletion the object is told") {
  hooked_world w;
  w.must(w.post(maps, config_map("a")), 201);
  w.on("/h", [](const json::value& q) {
    return q["operation"].as_string() == "DELETE" ? R"(,"allowed":false)" : std::string(admitted);
  });
  w.hook("Validating", "h", "/h", maps_rule);
  w.must(w.patch(std::string(maps) + "/a", R"({"data":{"k":"w"}})", merge), 200);
  CHECK(w.asked["/h"][0]["request"]["oldObject"]["data"]["k"].as_string() == "v");
  CHECK(w.asked["/h"][0]["request"]["object"]["data"]["k"].as_string() == "w");
  CHECK(w.remove(std::string(maps) + "/a").code == 400);
  CHECK(w.asked["/h"][1]["request"]["oldObject"]["data"]["k"].as_string() == "w");
  CHECK(w.asked["/h"][1]["request"]["object"].is_null());
  CHECK(w.remove(maps).code == 400);
  CHECK(w.get(std::string(maps) + "/a").code == 200);
}

TEST_CASE("who changes while a webhook answers is not overwritten: the webhook is asked again about the newer object") {
  hooked_world w;
  w.must(w.post(maps, config_map("a")), 201);
  bool meddled = false;
  w.scripts["/h"] = [&](const json::value& review) -> task<std::string> {
    if (!std::exchange(meddled, true)) {
      auto done = co_await w.client->modify({"", "v1", "configmaps"}, "default", "a", [](json::value& o) {
        o.member("data").set("other", "1");
        return true;
      });
      CHECK(done.has_value());
    }
    co_return hooked_world::respond(review, admitted);
  };
  w.hook("Mutating", "h", "/h", maps_rule);
  auto changed = w.must(w.patch(std::string(maps) + "/a", R"({"data":{"k":"w"}})", merge), 200);
  CHECK(changed["data"]["k"].as_string() == "w");
  CHECK(changed["data"]["other"].as_string() == "1");
}

TEST_CASE("a webhook that the other's change concerns is asked once more") {
  hooked_world w;
  w.on("/count", [](const json::value& q) {
    auto n = q["object"]["metadata"]["labels"]["n"].as_string();
    return patched(fmt::format(R"([{{"op":"add","path":"/metadata/labels","value":{{"n":"{}1"}}}}])", n));
  });
  w.on("/data", [](const json::value&) { return patched(R"([{"op":"add","path":"/data/x","value":"1"}])"); });
  w.hook("Mutating", "a", "/count", maps_rule, R"(,"reinvocationPolicy":"IfNeeded")");
  w.hook("Mutating", "b", "/data", maps_rule);
  auto made = w.must(w.post(maps, config_map("a")), 201);
  CHECK(made["metadata"]["labels"]["n"].as_string() == "11");
  CHECK(w.asked["/data"].size() == 1);
}

TEST_CASE("hostile webhooks: bounded, told of, and passed over where the policy says so") {
  struct row {
    std::string_view what;
    script says;
    std::string_view told;
  };
  const row rows[] = {
      {"garbage", saying("{"), "couldn't get version/kind"},
      {"10 MB", saying(std::string(10 * 1024 * 1024, ' ')), "larger than"},
      {"a redirect", saying("redirect https://127.0.0.1:1/"), "did not return more information"},
      {"a closed connection", saying("abort"), "EOF"},
      {"nothing", saying(""), "0-length response"},
      {"a deep nest", saying(std::string(100'000, '[')), "couldn't get version/kind"},
  };
  for (auto& r : rows) {
    CAPTURE(r.what);
    hooked_world w;
    auto a = create_with(w, r.says);
    CHECK(a.code == 500);
    CHECK_MESSAGE(message_of(a).starts_with(
                      R"(Internal error occurred: failed calling webhook "h.ex.io": failed to call webhook: )"),
                  a.body);
    CHECK_MESSAGE(message_of(a).find(r.told) != std::string::npos, a.body);
    hooked_world passes;
    CHECK(create_with(passes, r.says, R"(,"failurePolicy":"Ignore")").code == 201);
    CHECK(passes.measures.text().find(
              R"(apiserver_admission_webhook_fail_open_count{name="h.ex.io",type="validating"} 1)") !=
          std::string::npos);
  }
}

TEST_CASE("a webhook that hangs holds its own requests alone, for its own time") {
  hooked_world w;
  w.scripts["/slow"] = hanging();
  w.on("/quick", [](const json::value&) { return std::string(admitted); });
  w.hook("Validating", "slow", "/slow", maps_rule,
         R"(,"timeoutSeconds":1,"namespaceSelector":{"matchLabels":{"name":"default"}})");
  w.hook("Validating", "quick", "/quick", maps_rule, R"(,"namespaceSelector":{"matchLabels":{"name":"other"}})");
  // What is large has a turn, one at a time: not while another server is waited for.
  const std::string large(300 * 1024, 'x');
  memory_exchange held;
  api_world::fill(held, "POST", maps, config_map("a", large), {});
  reactor::scope work;
  work.spawn(w.handler->serve(held));
  const auto soon = monotonic_clock::now() + std::chrono::seconds(10);
  while (w.asked["/slow"].empty() && monotonic_clock::now() < soon)
    w.loop.turn(monotonic_clock::now() + std::chrono::milliseconds(1));
  w.must(w.post("/api/v1/namespaces/other/configmaps", config_map("large", large)), 201);
  for (int i = 0; i < 20; ++i)
    w.must(w.post("/api/v1/namespaces/other/configmaps", config_map(fmt::format("a{}", i))), 201);
  w.must(w.post("/api/v1/namespaces/default/secrets", R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"}})"),
         201);
  CHECK(!held.started());
  const auto until = monotonic_clock::now() + std::chrono::seconds(20);
  while (!held.finished && monotonic_clock::now() < until)
    w.loop.turn(monotonic_clock::now() + std::chrono::milliseconds(20));
  REQUIRE(held.finished);
  CHECK(held.head.status == 500);
  CHECK_MESSAGE(held.answer.find(R"(/slow?timeout=1s\": context deadline exceeded)") != std::string::npos, held.answer);
}

TEST_CASE("more calls of one configuration than may run wait in line, and all are answered") {
  hooked_world w;
  w.on("/h", [](const json::value&) { return std::string(admitted); });
  w.hook("Validating", "h", "/h", maps_rule, R"(,"timeoutSeconds":30)");
  constexpr std::size_t count = callout::calls_max + 50;
  std::vector<std::unique_ptr<memory_exchange>> all;
  reactor::scope work;
  for (std::size_t i = 0; i < count; ++i) {
    all.push_back(std::make_unique<memory_exchange>());
    api_world::fill(*all.back(), "POST", maps, config_map(fmt::format("a{}", i)), {});
    work.spawn(w.handler->serve(*all.back()));
  }
  const auto until = monotonic_clock::now() + std::chrono::seconds(60);
  while (work.size() > 0 && monotonic_clock::now() < until)
    w.loop.turn(monotonic_clock::now() + std::chrono::milliseconds(20));
  for (auto& e : all) CHECK_MESSAGE(e->head.status == 201, e->answer);
  CHECK(w.egress.dialled <= static_cast<int>(callout::calls_max));
}

TEST_CASE("a webhook may call back into the API while it is asked") {
  hooked_world w;
  w.scripts["/h"] = [&](const json::value& review) -> task<std::string> {
    if (review["request"]["name"].as_string() == "outer") {
      memory_exchange inner;
      api_world::fill(inner, "POST", maps, config_map("inner"), {});
      co_await w.handler->serve(inner);
      CHECK(inner.head.status == 201);
    }
    co_return hooked_world::respond(review, admitted);
  };
  w.hook("Validating", "h", "/h", maps_rule);
  w.must(w.post(maps, config_map("outer")), 201);
  CHECK(w.get(std::string(maps) + "/inner").code == 200);
  CHECK(w.asked["/h"].size() == 2);
}

TEST_CASE("who can't be trusted or reached: Go's words") {
  hooked_world w;
  w.on("/h", [](const json::value&) { return std::string(admitted); });
  auto stranger = test::make_certificate("stranger");
  const auto port = w.server->at().port;
  w.hook("Validating", "a", "/h", maps_rule, "",
         fmt::format(R"({{"url":"https://127.0.0.1:{}/h","caBundle":"{}"}})", port,
                     base64(as_bytes(stranger.certificate))));
  auto told = message_of(w.post(maps, config_map("a")));
  CHECK_MESSAGE(
      told ==
          fmt::format(
              R"(Internal error occurred: failed calling webhook "a.ex.io": failed to call webhook: Post "https://127.0.0.1:{}/h?timeout=5s": tls: failed to verify certificate: x509: certificate signed by unknown authority)",
              port),
      told);
  w.remove("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/a");
  w.hook("Validating", "b", "/h", maps_rule, "", R"({"url":"https://127.0.0.1:1/h"})");
  told = message_of(w.post(maps, config_map("a")));
  CHECK_MESSAGE(
      told ==
          R"(Internal error occurred: failed calling webhook "b.ex.io": failed to call webhook: Post "https://127.0.0.1:1/h?timeout=5s": dial tcp 127.0.0.1:1: connect: connection refused)",
      told);
}

TEST_CASE("a webhook behind a Service: its ready endpoints, by the name svc.ns.svc") {
  hooked_world w;
  w.on("/h", [](const json::value&) { return R"(,"allowed":false)"; });
  const auto config =
      fmt::format(R"({{"service":{{"namespace":"other","name":"svc","path":"/h","port":8443}},"caBundle":"{}"}})",
                  base64(as_bytes(w.pair.certificate)));
  w.hook("Validating", "h", "/h", maps_rule, "", config);
  auto told = [&] {
    auto text = message_of(w.post(maps, config_map("a")));
    constexpr std::string_view before =
        R"(Internal error occurred: failed calling webhook "h.ex.io": failed to call webhook: Post "https://svc.other.svc:8443/h?timeout=5s": )";
    CHECK_MESSAGE(text.starts_with(before), text);
    return text.substr(std::min(before.size(), text.size()));
  };
  CHECK(told() == R"(service "svc" not found)");
  w.must(
      w.post(
          "/api/v1/namespaces/other/services",
          R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"svc"},"spec":{"clusterIP":"None","ports":[{"name":"https","port":443,"targetPort":443}]}})"),
      201);
  CHECK(told() == R"(no service port 8443 found for service "svc")");
  w.must(w.patch("/api/v1/namespaces/other/services/svc",
                 R"({"spec":{"ports":[{"name":"https","port":8443,"targetPort":443}]}})", merge),
         200);
  CHECK(told() == R"(no endpoints available for service "svc")");
  // The certificate is for localhost, not for the Service: so the endpoint was reached.
  const auto slice = json::object{
      {"apiVersion", "discovery.k8s.io/v1"},
      {"kind", "EndpointSlice"},
      {"metadata", json::object{{"name", "svc-1"}, {"labels", json::object{{"kubernetes.io/service-name", "svc"}}}}},
      {"addressType", "IPv4"},
      {"ports", json::array{json::object{{"name", "https"}, {"port", static_cast<std::int64_t>(w.server->at().port)}}}},
      {"endpoints",
       json::array{json::object{{"addresses", json::array{"10.0.0.9"}}, {"conditions", json::object{{"ready", false}}}},
                   json::object{{"addresses", json::array{"10.0.0.8"}}}}}};
  auto stored = stored_text(*builtin_registry().find("discovery.k8s.io", "v1", "endpointslices"),
                            *std::make_unique<json::value>(slice));
  auto at = stored.find("10.0.0.8");
  stored.replace(at, 8, "127.0.0.1");  // what no client may write
  REQUIRE(w.loop
              .run_until(
                  w.objects->write({store::write_kind::create, "/registry/endpointslices/other/svc-1", stored, 0, 0}))
              .has_value());
  CHECK(told().starts_with("tls: failed to verify certificate: x509: certificate is valid for"));
}

}  // namespace kedge::api
