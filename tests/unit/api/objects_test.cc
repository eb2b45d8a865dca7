// Create, read, change and remove objects through the handler.
#include "api/write/limits.h"
#include "api/write/not_yet.h"
#include "api/write/pod_size.h"
#include "base/strings.h"
#include "crypto/certificate.h"
#include "harness.h"
#include "samples.h"

namespace kedge::api {

TEST_CASE("a ConfigMap lives its life") {
  api_world w;
  auto made = w.must(w.post("/api/v1/namespaces/default/configmaps", config_map("a")), 201);
  CHECK(made["kind"].as_string() == "ConfigMap");
  CHECK(made["apiVersion"].as_string() == "v1");
  CHECK(made["metadata"]["namespace"].as_string() == "default");
  CHECK(made["metadata"]["uid"].as_string().size() == 36);
  CHECK_FALSE(made["metadata"]["resourceVersion"].as_string().empty());
  CHECK(made["metadata"]["generation"].is_null());

  auto got = w.get("/api/v1/namespaces/default/configmaps/a");
  CHECK(got.code == 200);
  CHECK(got.json() == made);
  CHECK(got.headers.get("Content-Type") == "application/json");
  CHECK(got.headers.get("Cache-Control") == "no-cache, private");

  auto again = w.must(w.post("/api/v1/namespaces/default/configmaps", config_map("a")), 409);
  CHECK(again["message"].as_string() == R"(configmaps "a" already exists)");
  CHECK(again["details"]["kind"].as_string() == "configmaps");

  auto next = made;
  next.member("data").set("k", "w");
  auto put = w.must(w.put("/api/v1/namespaces/default/configmaps/a", json::write(next)), 200);
  CHECK(put["data"]["k"].as_string() == "w");
  CHECK(put["metadata"]["resourceVersion"].as_string() != made["metadata"]["resourceVersion"].as_string());

  auto stale = w.must(w.put("/api/v1/namespaces/default/configmaps/a", json::write(next)), 409);
  CHECK(
      stale["message"].as_string() ==
      R"(Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again)");

  // A write of what stands already changes nothing.
  auto same = w.must(w.put("/api/v1/namespaces/default/configmaps/a", json::write(put)), 200);
  CHECK(same["metadata"]["resourceVersion"] == put["metadata"]["resourceVersion"]);

  auto patched =
      w.must(w.patch("/api/v1/namespaces/default/configmaps/a", R"({"data":{"x":"y","k":null}})", merge), 200);
  CHECK(json::write(patched["data"]) == R"({"x":"y"})");
  auto json_patched = w.must(w.patch("/api/v1/namespaces/default/configmaps/a",
                                     R"([{"op":"test","path":"/data/x","value":"n"}])", "application/json-patch+json"),
                             422);
  CHECK(json_patched["message"].as_string() == "the server rejected our request due to an error in our request");

  auto gone = w.must(w.remove("/api/v1/namespaces/default/configmaps/a"), 200);
  CHECK(gone["status"].as_string() == "Success");
  CHECK(gone["details"]["uid"] == made["metadata"]["uid"]);
  CHECK(gone["code"].is_null());
  auto missing = w.must(w.get("/api/v1/namespaces/default/configmaps/a"), 404);
  CHECK(missing["message"].as_string() == R"(configmaps "a" not found)");
}

TEST_CASE("bodies that don't fit are refused in the real server's words") {
  api_world w;
  struct row {
    const char *target, *body, *message;
    int code;
  };
  const row rows[] = {
      {"/api/v1/namespaces/default/configmaps", R"({"kind":"Pod","apiVersion":"v1"})",
       R"(Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion)",
       400},
      {"/api/v1/namespaces/default/configmaps", R"({"metadata":{"name":"a","namespace":"b"}})",
       "the namespace of the provided object does not match the namespace sent on the request", 400},
      {"/api/v1/namespaces/default/configmaps", R"({"metadata":{"name":"A"}})",
       R"(ConfigMap "A" is invalid: metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'))",
       422},
      {"/api/v1/namespaces/default/configmaps", R"({})",
       R"(ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required)", 422},
      {"/api/v1/namespaces/default/configmaps?fieldValidation=Strict",
       R"({"metadata":{"name":"a","x":1},"foo":2,"data":{"a":"1","a":"2"}})", nullptr, 400},
      {"/api/v1/namespaces/default/configmaps?dryRun=Foo", R"({"metadata":{"name":"a"}})",
       R"( "" is invalid: dryRun: Unsupported value: ["Foo"]: supported values: "All")", 422},
      {"/api/v1/foos", "{}", "the server could not find the requested resource", 404},
      {"/apis/x/y/foos", "{}", "the server could not find the requested resource", 404},
  };
  for (auto& r : rows) {
    CAPTURE(r.target);
    CAPTURE(r.body);
    auto a = w.must(w.post(r.target, r.body), r.code);
    if (r.message) CHECK(a["message"].as_string().ends_with(r.message));
  }
  CHECK(w.post("/api/v1/namespaces/default/configmaps", "{}", {{"Content-Type", "text/plain"}}).code == 415);
  CHECK(w.post("/api/v1/namespaces/default/configmaps", std::string(3 * 1024 * 1024 + 1, ' ')).code == 413);
  CHECK(w.ask("OPTIONS", "/api/v1/pods").code == 405);
  CHECK(w.get("/foo").body == "404 page not found\n");
  CHECK(w.get("/api//v1").code == 404);
}

TEST_CASE("unknown and duplicate fields warn, or refuse") {
  api_world w;
  auto body = R"({"metadata":{"name":"a"},"foo":2,"data":{"a":"1","a":"2"}})";
  auto a = w.post("/api/v1/namespaces/default/configmaps", body);
  CHECK(a.code == 201);
  auto warnings = a.headers.all("Warning");
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[0] == R"(299 - "unknown field \"foo\"")");
  CHECK(warnings[1] == R"(299 - "duplicate field \"data.a\"")");
  auto strict = w.must(w.post("/api/v1/namespaces/default/configmaps?fieldValidation=Strict", body), 400);
  CHECK(
      strict["message"].as_string() ==
      R"(ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo", duplicate field "data.a")");
}

TEST_CASE("generated names, dry runs, YAML bodies") {
  api_world w;
  auto made = w.must(w.post("/api/v1/namespaces/default/configmaps", R"({"metadata":{"generateName":"g-"}})"), 201);
  auto name = made["metadata"]["name"].as_string();
  CHECK(name.size() == 7);
  CHECK(name.starts_with("g-"));
  auto dry = w.must(w.post("/api/v1/namespaces/default/configmaps?dryRun=All", config_map("d")), 201);
  CHECK(dry["metadata"]["resourceVersion"].is_null());
  CHECK(dry["metadata"]["uid"].is_string());
  CHECK(w.get("/api/v1/namespaces/default/configmaps/d").code == 404);
  auto yaml = w.post("/api/v1/namespaces/default/configmaps", "metadata:\n  name: yam\ndata:\n  a: \"1\"\n",
                     {{"Content-Type", "application/yaml"}});
  CHECK(yaml.code == 201);
  auto shown = w.get("/api/v1/namespaces/default/configmaps/yam", {{"Accept", "application/yaml"}});
  CHECK(shown.body.find("  name: yam\n") != std::string::npos);
}

TEST_CASE("finalizers hold an object, the last one lets it go") {
  api_world w;
  w.must(w.post("/api/v1/namespaces/default/configmaps", R"({"metadata":{"name":"f","finalizers":["a.io/b"]}})"), 201);
  auto marked = w.must(w.remove("/api/v1/namespaces/default/configmaps/f"), 200);
  CHECK(marked["metadata"]["deletionTimestamp"].is_string());
  auto refused = w.must(
      w.patch("/api/v1/namespaces/default/configmaps/f", R"({"metadata":{"finalizers":["a.io/b","x.io/new"]}})", merge),
      422);
  CHECK(refused["message"].as_string().find(R"(found new finalizers []string{"x.io/new"})") != std::string::npos);
  CHECK(w.patch("/api/v1/namespaces/default/configmaps/f", R"({"metadata":{"finalizers":null}})", merge).code == 200);
  CHECK(w.get("/api/v1/namespaces/default/configmaps/f").code == 404);
  // Foreground deletion waits for the garbage collector.
  w.must(w.post("/api/v1/namespaces/default/configmaps", config_map("g")), 201);
  auto foreground = w.must(w.remove("/api/v1/namespaces/default/configmaps/g?propagationPolicy=Foreground"), 200);
  CHECK(foreground["metadata"]["finalizers"][0].as_string() == "foregroundDeletion");
}

TEST_CASE("preconditions of a delete") {
  api_world w;
  w.must(w.post("/api/v1/namespaces/default/configmaps", config_map("p")), 201);
  CHECK(w.remove("/api/v1/namespaces/default/configmaps/p", R"({"preconditions":{"uid":"other"}})").code == 409);
  CHECK(w.remove("/api/v1/namespaces/default/configmaps/p", R"({"preconditions":{"resourceVersion":"999"}})").code ==
        409);
  CHECK(w.remove("/api/v1/namespaces/default/configmaps/p?propagationPolicy=Nope").code == 422);
  CHECK(w.remove("/api/v1/namespaces/default/configmaps/p").code == 200);
}

TEST_CASE("namespaces have a phase and finalizers") {
  api_world w;
  auto made = w.must(w.post("/api/v1/namespaces", R"({"metadata":{"name":"n"}})"), 201);
  CHECK(made["metadata"]["labels"]["kubernetes.io/metadata.name"].as_string() == "n");
  CHECK(made["status"]["phase"].as_string() == "Active");
  CHECK(made["spec"]["finalizers"][0].as_string() == "kubernetes");
  auto marked = w.must(w.remove("/api/v1/namespaces/n"), 200);
  CHECK(marked["status"]["phase"].as_string() == "Terminating");
  CHECK(w.get("/api/v1/namespaces/n").code == 200);
  marked.member("spec").set("finalizers", json::array{});
  CHECK(w.put("/api/v1/namespaces/n/finalize", json::write(marked)).code == 200);
  CHECK(w.get("/api/v1/namespaces/n").code == 404);
  w.must(w.post("/api/v1/namespaces", R"({"metadata":{"name":"default"}})"), 201);
  CHECK(w.must(w.remove("/api/v1/namespaces/default"), 403)["message"].as_string() ==
        R"(namespaces "default" is forbidden: this namespace may not be deleted)");
}

constexpr std::string_view deployment =
    R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},
  "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})";

TEST_CASE("of Secrets and ConfigMaps the bytes count that they hold, not the text that says them") {
  api_world w;
  constexpr std::size_t most = 1024 * 1024;
  auto in_base64 = [](std::size_t n) { return base64(as_bytes(std::string(n, 'x'))); };
  auto body = [](std::string_view kind, std::string_view name, std::string_view fields) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"{}","metadata":{{"name":"{}"}},{}}})", kind, name, fields);
  };
  // Every way to pad, in one value and in several.
  for (std::size_t part : {std::size_t(0), std::size_t(1), std::size_t(2), std::size_t(3), most / 2})
    for (std::size_t more : {0U, 1U}) {
      auto name = fmt::format("s-{}-{}", part, more);
      auto a = in_base64(part), b = in_base64(most - part + more);
      auto secret = w.post("/api/v1/namespaces/default/secrets",
                           body("Secret", name, fmt::format(R"("data":{{"a":"{}","b":"{}"}})", a, b)));
      CHECK_MESSAGE(secret.code == (more ? 422 : 201), secret.body.substr(0, 300));
      auto map =
          w.post("/api/v1/namespaces/default/configmaps",
                 body("ConfigMap", name,
                      fmt::format(R"("data":{{"a":"{}"}},"binaryData":{{"b":"{}"}})", std::string(part, 'x'), b)));
      CHECK_MESSAGE(map.code == (more ? 422 : 201), map.body.substr(0, 300));
      if (more) CHECK(map.body.find("Too long: may not be more than 1048576 bytes") != std::string::npos);
    }
}

TEST_CASE("a create whose namespace changes meanwhile is sent again, whole") {
  api_world w;
  w.must(w.post("/api/v1/namespaces", R"({"metadata":{"name":"busy"}})"), 201);
  w.database.faults.delay_before_commit = [] { return std::chrono::milliseconds(1); };
  auto change = [](api_handler& to, int times) -> task<void> {
    for (int i = 0; i < times; ++i) {
      memory_exchange e;
      api_world::fill(e, "PATCH", "/api/v1/namespaces/busy",
                      fmt::format(R"({{"metadata":{{"labels":{{"n":"{}"}}}}}})", i),
                      {{"Content-Type", std::string(merge)}});
      co_await to.serve(e);
      CHECK_MESSAGE(e.head.status == 200, e.answer);
      co_await reactor::sleep_for(std::chrono::milliseconds(1));
    }
  };
  std::vector<std::unique_ptr<memory_exchange>> asked;
  reactor::scope all;
  all.spawn(change(*w.handler, 20));
  for (int i = 0; i < 60; ++i) {
    auto& e = *asked.emplace_back(std::make_unique<memory_exchange>());
    api_world::fill(e, "POST", "/api/v1/namespaces/busy/configmaps", config_map(fmt::format("m-{}", i)), {});
    all.spawn(w.handler->serve(e));
    w.loop.turn(monotonic_clock::now() + std::chrono::microseconds(500));
  }
  w.loop.run_until([](reactor::scope& g) -> task<void> { co_await g.join(); }(all));
  for (auto& e : asked) CHECK_MESSAGE(e->head.status == 201, e->answer);
  auto list = w.must(w.get("/api/v1/namespaces/busy/configmaps"), 200);
  CHECK(list["items"].size() == 60);
  for (std::size_t i = 0; i < list["items"].size(); ++i) CHECK(list["items"][i]["data"]["k"].as_string() == "v");
}

TEST_CASE("a Deployment: defaults, generation, status, scale") {
  api_world w;
  auto made = w.must(w.post("/apis/apps/v1/namespaces/default/deployments", deployment), 201);
  CHECK(made["metadata"]["generation"].as_integer() == 1);
  CHECK(made["spec"]["replicas"].as_integer() == 1);
  CHECK(made["spec"]["strategy"]["rollingUpdate"]["maxSurge"].as_string() == "25%");
  auto labelled = w.must(
      w.patch("/apis/apps/v1/namespaces/default/deployments/d", R"({"metadata":{"labels":{"x":"y"}}})", merge), 200);
  CHECK(labelled["metadata"]["generation"].as_integer() == 1);
  auto image = w.must(w.patch("/apis/apps/v1/namespaces/default/deployments/d",
                              R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}})", strategic),
                      200);
  CHECK(image["metadata"]["generation"].as_integer() == 2);
  CHECK(image["spec"]["template"]["spec"]["containers"][0]["image"].as_string() == "j");
  auto status = w.must(w.patch("/apis/apps/v1/namespaces/default/deployments/d/status",
                               R"({"spec":{"replicas":9},"status":{"replicas":1}})", merge),
                       200);
  CHECK(status["spec"]["replicas"].as_integer() == 1);
  CHECK(status["status"]["replicas"].as_integer() == 1);
  auto scale = w.must(w.get("/apis/apps/v1/namespaces/default/deployments/d/scale"), 200);
  CHECK(scale["kind"].as_string() == "Scale");
  CHECK(scale["status"]["selector"].as_string() == "a=b");
  auto scaled =
      w.must(w.patch("/apis/apps/v1/namespaces/default/deployments/d/scale", R"({"spec":{"replicas":5}})", merge), 200);
  CHECK(scaled["spec"]["replicas"].as_integer() == 5);
  auto after = w.must(w.get("/apis/apps/v1/namespaces/default/deployments/d"), 200);
  CHECK(after["metadata"]["generation"].as_integer() == 3);
  auto wrong = w.must(w.patch("/apis/apps/v1/namespaces/default/deployments/d",
                              R"({"spec":{"selector":{"matchLabels":{"a":"c"}}}})", merge),
                      422);
  CHECK(wrong["message"].as_string().find("field is immutable") != std::string::npos);
}

constexpr std::string_view pod =
    R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}})";

TEST_CASE("a Pod: defaults, binding, grace, eviction, update rules") {
  api_world w;
  auto made = w.must(w.post("/api/v1/namespaces/default/pods", pod), 201);
  CHECK(made["status"]["phase"].as_string() == "Pending");
  CHECK(made["status"]["qosClass"].as_string() == "BestEffort");
  CHECK(made["spec"]["restartPolicy"].as_string() == "Always");
  auto bound = w.must(w.post("/api/v1/namespaces/default/pods/p/binding",
                             R"({"metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}})"),
                      201);
  CHECK(bound["status"].as_string() == "Success");
  CHECK(bound["code"].as_integer() == 201);
  auto twice = w.must(w.post("/api/v1/namespaces/default/pods/p/binding",
                             R"({"metadata":{"name":"p"},"target":{"kind":"Node","name":"n2"}})"),
                      409);
  CHECK(twice["message"].as_string() ==
        R"(Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1")");
  auto found = w.must(w.get("/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName=n1"), 200);
  CHECK(found["items"].size() == 1);
  CHECK(w.get("/api/v1/pods?fieldSelector=spec.foo=n1").code == 400);

  auto no = w.must(w.patch("/api/v1/namespaces/default/pods/p", R"({"spec":{"nodeName":"n3"}})", merge), 422);
  CHECK(no["message"].as_string().find("pod updates may not change fields other than") != std::string::npos);
  CHECK(w.patch("/api/v1/namespaces/default/pods/p", R"({"spec":{"containers":[{"name":"c","image":"k"}]}})", strategic)
            .code == 200);

  auto marked = w.must(w.remove("/api/v1/namespaces/default/pods/p"), 200);
  CHECK(marked["kind"].as_string() == "Pod");
  CHECK(marked["metadata"]["deletionGracePeriodSeconds"].as_integer() == 30);
  CHECK(marked["metadata"]["generation"].as_integer() == 3);
  CHECK(w.get("/api/v1/namespaces/default/pods/p").code == 200);
  CHECK(w.remove("/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0").code == 200);
  CHECK(w.get("/api/v1/namespaces/default/pods/p").code == 404);

  w.must(w.post("/api/v1/namespaces/default/pods", pod), 201);
  CHECK(w.post("/api/v1/namespaces/default/pods/p/eviction",
               R"({"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}})")
            .code == 201);
  CHECK(w.get("/api/v1/namespaces/default/pods/p").code == 404);  // it had no node: gone at once
}

// Seen at a K3s v1.36.3 server: what is written in another form than it is kept in belongs to its writer as it is kept.
TEST_CASE("what is kept in another form than it was written in") {
  api_world w;
  auto owned = [](const json::value& o) {
    return json::write(o["metadata"]["managedFields"][o["metadata"]["managedFields"].size() - 1]["fieldsV1"]);
  };
  const std::string secrets = "/api/v1/namespaces/default/secrets";
  auto secret =
      w.must(w.post(secrets, R"({"metadata":{"name":"s"},"stringData":{"s":"hidden"},"data":{"a":"AAE="}})"), 201);
  CHECK(json::write(secret["data"]) == R"({"a":"AAE=","s":"aGlkZGVu"})");
  CHECK(owned(secret) == R"({"f:data":{".":{},"f:a":{},"f:s":{}},"f:type":{}})");
  secret = w.must(w.patch(secrets + "/s", R"({"stringData":{"z":"1"}})", merge), 200);
  CHECK(json::write(secret["data"]) == R"({"a":"AAE=","s":"aGlkZGVu","z":"MQ=="})");
  CHECK(owned(secret).find("stringData") == std::string::npos);
  CHECK(owned(secret).find(R"("f:z":{})") != std::string::npos);

  const std::string apps = "/apis/apps/v1/namespaces/default/";
  const std::string of_pods =
      R"("selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}})";
  auto set = w.must(
      w.post(
          apps + "statefulsets",
          R"({"metadata":{"name":"s"},"spec":{"serviceName":"s",)" + of_pods +
              R"(,"volumeClaimTemplates":[{"metadata":{"name":"v"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}]}})"),
      201);
  CHECK(set["spec"]["volumeClaimTemplates"][std::size_t{0}]["kind"].as_string() == "PersistentVolumeClaim");
  CHECK(set["spec"]["volumeClaimTemplates"][std::size_t{0}]["apiVersion"].as_string() == "v1");
  w.must(w.patch(apps + "statefulsets/s", R"({"spec":{"replicas":2}})", merge), 200);

  auto generation = [](const json::value& o) {
    return std::string(o["metadata"]["annotations"]["deprecated.daemonset.template.generation"].as_string());
  };
  auto daemons = w.must(w.post(apps + "daemonsets", R"({"metadata":{"name":"d"},"spec":{)" + of_pods + "}}"), 201);
  CHECK(generation(daemons) == "1");
  CHECK(owned(daemons).find(R"("f:deprecated.daemonset.template.generation":{})") != std::string::npos);
  CHECK(generation(w.must(
            w.patch(apps + "daemonsets/d", R"({"metadata":{"annotations":null,"labels":{"l":"1"}}})", merge), 200)) ==
        "1");
  CHECK(generation(w.must(
            w.patch(apps + "daemonsets/d", R"({"spec":{"template":{"metadata":{"labels":{"new":"1"}}}}})", merge),
            200)) == "2");

  const std::string pods = "/api/v1/namespaces/default/pods";
  w.must(w.post(pods, R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"x"}]}})"), 201);
  auto running = w.must(w.patch(pods + "/p/status", R"({"status":{"podIP":"1.2.3.4"}})", merge), 200);
  CHECK(json::write(running["status"]["podIPs"]) == R"([{"ip":"1.2.3.4"}])");
  running =
      w.must(w.patch(pods + "/p/ephemeralcontainers", R"({"spec":{"ephemeralContainers":[{"name":"e","image":"i"}]}})",
                     "application/strategic-merge-patch+json"),
             200);
  auto& e = running["spec"]["ephemeralContainers"][std::size_t{0}];
  CHECK(e["imagePullPolicy"].as_string() == "Always");
  CHECK(e["terminationMessagePath"].as_string() == "/dev/termination-log");
  CHECK(e["terminationMessagePolicy"].as_string() == "File");
}

TEST_CASE("services get addresses and ports, and give them back") {
  api_world w;
  auto body = [](std::string_view name, std::string_view spec) {
    return fmt::format(R"({{"metadata":{{"name":"{}"}},"spec":{{"ports":[{{"port":80}}]{}}}}})", name, spec);
  };
  auto a = w.must(w.post("/api/v1/namespaces/default/services", body("a", "")), 201);
  auto ip = std::string(a["spec"]["clusterIP"].as_string());
  CHECK(ip.starts_with("10.43."));
  CHECK(a["spec"]["clusterIPs"][0].as_string() == ip);
  CHECK(a["spec"]["ports"][0]["targetPort"].as_integer() == 80);
  auto taken =
      w.must(w.post("/api/v1/namespaces/default/services", body("b", fmt::format(R"(,"clusterIP":"{}")", ip))), 422);
  CHECK(taken["message"].as_string().find("provided IP is already allocated") != std::string::npos);
  auto n = w.must(w.post("/api/v1/namespaces/default/services", body("n", R"(,"type":"NodePort")")), 201);
  auto port = n["spec"]["ports"][0]["nodePort"].as_integer();
  CHECK(port >= 30086);
  CHECK(port <= 32767);
  auto same = w.must(
      w.post("/api/v1/namespaces/default/services",
             fmt::format(
                 R"({{"metadata":{{"name":"m"}},"spec":{{"type":"NodePort","ports":[{{"port":80,"nodePort":{}}}]}}}})",
                 port)),
      422);
  CHECK(same["message"].as_string().find("provided port is already allocated") != std::string::npos);
  CHECK(w.get("/apis/networking.k8s.io/v1/ipaddresses/" + ip).code == 200);
  auto moved =
      w.must(w.patch("/api/v1/namespaces/default/services/a", R"({"spec":{"clusterIP":"10.43.0.9"}})", merge), 422);
  CHECK(moved["message"].as_string().find("may not change once set") != std::string::npos);
  CHECK(w.remove("/api/v1/namespaces/default/services/a").code == 200);
  CHECK(w.get("/apis/networking.k8s.io/v1/ipaddresses/" + ip).code == 404);
  auto headless = w.must(
      w.post("/api/v1/namespaces/default/services", body("h", R"(,"clusterIP":"None","selector":{"a":"b"})")), 201);
  CHECK(headless["spec"]["ipFamilyPolicy"].as_string() == "SingleStack");
}

TEST_CASE("events are one storage under two groups") {
  api_world w;
  auto body =
      R"({"metadata":{"name":"e","namespace":"default"},"involvedObject":{"kind":"Pod","name":"p","namespace":"default"},"reason":"r","message":"m","type":"Normal","count":2})";
  w.must(w.post("/api/v1/namespaces/default/events", body), 201);
  auto other = w.must(w.get("/apis/events.k8s.io/v1/namespaces/default/events/e"), 200);
  CHECK(other["apiVersion"].as_string() == "events.k8s.io/v1");
  CHECK(other["note"].as_string() == "m");
  CHECK(other["regarding"]["name"].as_string() == "p");
  CHECK(other["deprecatedCount"].as_integer() == 2);
  auto list = w.must(w.get("/apis/events.k8s.io/v1/events?fieldSelector=regarding.name=p"), 200);
  CHECK(list["kind"].as_string() == "EventList");
  CHECK(list["items"][0]["regarding"]["kind"].as_string() == "Pod");
}

// Observed on 1.34: 400 "Name parameter invalid", whatever the verb; an escaped slash at the end is a slash at the end.
TEST_CASE("a name that no path can have is refused before it is looked for: every resource, verb and subresource") {
  api_world w;
  const std::pair<std::string_view, std::string_view> names[] = {
      {"edge%25", R"(Name parameter invalid: "edge%": may not contain '%')"},
      {"%2e%2e", R"(Name parameter invalid: "..": may not be '..')"},
      {".", R"(Name parameter invalid: ".": may not be '.')"}};
  std::size_t asked = 0;
  for (auto& s : builtin_registry().all()) {
    auto root = (s->group.empty() ? "/api/" : "/apis/" + s->group + "/") + s->version +
                (s->namespaced() ? "/namespaces/default/" : "/") + std::string(s->resource) + "/";
    auto refused = [&](std::string_view verb, std::string_view path, std::string_view name, std::string_view message) {
      std::string_view method = verb == "get"      ? "GET"
                                : verb == "update" ? "PUT"
                                : verb == "patch"  ? "PATCH"
                                : verb == "delete" ? "DELETE"
                                : verb == "create" ? "POST"
                                                   : "";
      if (method.empty()) return;
      auto a = w.ask(method, path, "{}");
      CAPTURE(path);
      CAPTURE(name);
      CHECK(a.code == 400);
      CHECK(a.json()["message"].as_string() == message);
      ++asked;
    };
    for (auto& [name, message] : names) {
      for (auto& verb : s->verbs)
        if (verb != "create") refused(verb, root + std::string(name), name, message);
      for (auto& sub : s->subresources)
        for (auto& verb : sub.verbs)
          refused(verb, root + std::string(name) + "/" + std::string(sub.name), name, message);
    }
  }
  CHECK(asked > 1000);
  w.must(w.post("/api/v1/namespaces/default/configmaps", config_map("edge")), 201);
  CHECK(w.get("/api/v1/namespaces/default/configmaps/edge%2F").code == 200);
  CHECK(w.get("/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dedge%25").json()["items"].size() ==
        0);
}

// A row that is taken away needs no change here; a new one needs an object that it is about.
TEST_CASE("who writes what isn't obeyed yet is told, on each write") {
  const std::map<std::string, std::pair<std::string, std::string>, std::less<>> objects = {
      // resource → path of the collection, object
      {"ingresses",
       {"/apis/networking.k8s.io/v1/namespaces/default/ingresses",
        R"({"spec":{"defaultBackend":{"service":{"name":"x","port":{"number":80}}}}})"}},
  };
  api_world w;
  for (auto& row : all_not_yet()) {
    CAPTURE(std::string(row.resource));
    auto found = objects.find(row.resource);
    REQUIRE(found != objects.end());
    REQUIRE(builtin_registry().find_any(row.group, row.resource));
    for (char c : row.text) CHECK((c >= 0x20 && c < 0x7f && c != '"' && c != '\\'));  // as it stands in a header
    auto& [path, text] = found->second;
    if (text.empty()) continue;
    auto object = json::parse(text);
    REQUIRE_MESSAGE(object.has_value(), text);
    if ((*object)["metadata"]["name"].is_null()) object->member("metadata").set("name", "a");
    const auto one = path + "/" + std::string((*object)["metadata"]["name"].as_string());
    auto tells = [&](const answer_text& a) {
      for (auto h : a.headers.all("Warning"))
        if (h.find(row.text) != std::string_view::npos) return true;
      return false;
    };
    auto made = w.post(path, json::write(*object));
    CHECK_MESSAGE((made.code == 201 || made.code == 409), made.body);  // 409: by an earlier row of the same kind
    CHECK((made.code == 409 || tells(made)));
    auto now = w.must(w.get(one), 200);
    CHECK(tells(w.put(one, json::write(now))));
    CHECK(tells(w.patch(one, R"({"metadata":{"labels":{"a":"b"}}})", merge)));
    for (auto member : {"apiVersion", "kind"}) object->set(member, now[member]);
    CHECK(tells(w.ask("PATCH", one + "?fieldManager=t&force=true", json::write(*object),
                      {{"Content-Type", "application/apply-patch+yaml"}})));
    CHECK_FALSE(tells(w.get(one)));
  }
  CHECK_FALSE(
      w.post("/api/v1/namespaces/default/services", R"({"metadata":{"name":"plain"},"spec":{"ports":[{"port":80}]}})")
          .headers.has("Warning"));
}

TEST_CASE("what an endpoint's address may be is judged after parsing, in every spelling") {
  api_world w;
  const std::string legacy = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    mapped = "must not be an IPv4-mapped IPv6 address", zeros = "must not have leading 0s",
                    loopback = "may not be in the loopback range (127.0.0.0/8, ::1/128)",
                    link = "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                    multicast = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
  struct row {
    std::string ip, v4, v6, subset;  // what is wrong in a slice of that type, and in an Endpoints; empty: nothing
  };
  const row rows[] = {{"10.42.0.1", "", "addresses: must be an IPv6 address", ""},
                      {"fd00::1", "addresses: must be an IPv4 address", "", ""},
                      {"FD00::1", "addresses: must be an IPv4 address", "must be in canonical form (\"fd00::1\")", ""},
                      {"::ffff:10.42.0.1", mapped, mapped, mapped},
                      {"::ffff:127.0.0.1", mapped, mapped, mapped},
                      {"010.42.0.1", zeros, zeros, zeros},
                      {"host", legacy, legacy, legacy},
                      {"127.0.0.2", loopback, "addresses: must be an IPv6 address", loopback},
                      {"0.0.0.0", "may not be unspecified (0.0.0.0)", "addresses: must be an IPv6 address",
                       "may not be unspecified (0.0.0.0)"},
                      {"169.254.169.254", link, "addresses: must be an IPv6 address", link},
                      {"febf::1", "addresses: must be an IPv4 address", link, link},
                      {"::1", "addresses: must be an IPv4 address", loopback, loopback},
                      {"ff02::1", "addresses: must be an IPv4 address", multicast, multicast},
                      {"224.0.0.7", multicast, "addresses: must be an IPv6 address", multicast}};
  auto message_of = [](const answer_text& a) {
    return a.code == 201 ? std::string() : std::string(a.json()["details"]["causes"][0]["message"].as_string());
  };
  auto field_of = [](const answer_text& a) {
    return std::string(a.json()["details"]["causes"][0]["field"].as_string());
  };
  int n = 0;
  for (auto& r : rows) {
    CAPTURE(r.ip);
    for (auto& [type, wrong] : {std::pair{"IPv4", &r.v4}, {"IPv6", &r.v6}}) {
      CAPTURE(type);
      auto a = w.post(
          "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
          fmt::format(
              R"({{"metadata":{{"name":"s{}"}},"addressType":"{}","endpoints":[{{"addresses":["{}"]}}],"ports":[]}})",
              ++n, type, r.ip));
      const bool of_list = wrong->starts_with("addresses: ");
      const auto text = of_list ? wrong->substr(11) : *wrong;
      CHECK(a.code == (text.empty() ? 201 : 422));
      if (a.code == 201) continue;
      CHECK_MESSAGE(message_of(a).find(text) != std::string::npos, message_of(a));
      CHECK(field_of(a) == (of_list ? "endpoints[0].addresses" : "endpoints[0].addresses[0]"));
    }
    auto a = w.post(
        "/api/v1/namespaces/default/endpoints",
        fmt::format(
            R"({{"metadata":{{"name":"e{}"}},"subsets":[{{"addresses":[{{"ip":"{}"}}],"ports":[{{"port":1}}]}}]}})",
            ++n, r.ip));
    CHECK(a.code == (r.subset.empty() ? 201 : 422));
    CHECK_MESSAGE(message_of(a).find(r.subset) != std::string::npos, message_of(a));
  }
}

// Who signs writes the status; who approves is asked through /approval alone, by its signer.
TEST_CASE("a certificate request is approved through /approval and nowhere else") {
  api_world w;
  auto csrs = builtin_registry().find("certificates.k8s.io", "v1", "certificatesigningrequests");
  const std::string root = "/apis/certificates.k8s.io/v1/certificatesigningrequests", one = root + "/c";
  w.must(w.post(root, json::write(sample(*csrs, "", "c"))), 201);
  auto with = [&](std::string_view conditions, std::string_view certificate = "") {
    auto o = w.must(w.get(one), 200);
    o.member("status").set("conditions", *json::parse(conditions));
    if (!certificate.empty()) o.member("status").set("certificate", certificate);
    return json::write(o);
  };
  auto certificate = [] {
    return base64(as_bytes(crypto::authority::create("signer", system_wall_time())->bundle_pem()));
  };
  constexpr std::string_view approved = R"([{"type":"Approved","status":"True","reason":"r"}])",
                             denied = R"([{"type":"Denied","status":"True","reason":"r"}])",
                             failed = R"([{"type":"Failed","status":"True","reason":"r"}])";
  for (auto wanted : {approved, denied}) {
    auto refused = w.put(one + "/status", with(wanted));
    CHECK(refused.code == 422);
    CHECK(refused.body.find("updates may not add a condition of type") != std::string::npos);
  }
  CHECK(w.patch(one + "/status", fmt::format(R"({{"status":{{"conditions":{}}}}})", approved), merge).code == 422);
  // The object itself keeps its status.
  w.must(w.put(one, with(approved)), 200);
  CHECK(w.get(one).json()["status"]["conditions"].empty());
  CHECK(w.must(w.put(one + "/approval", with(approved)), 200)["status"]["conditions"][0]["type"].as_string() ==
        "Approved");
  // What was approved stays as it was, whatever the status says of it.
  auto changed = w.must(
      w.put(one + "/status", with(R"([{"type":"Approved","status":"True","reason":"mine"}])", certificate())), 200);
  CHECK(changed["status"]["conditions"][0]["reason"].as_string() == "r");
  CHECK(w.put(one + "/status", with("[]")).code == 422);
  CHECK(w.put(one + "/status", with(approved, certificate())).code == 422);  // a certificate is given once
  CHECK(w.put(one + "/approval", with(R"([{"type":"Approved","status":"True"},{"type":"Denied","status":"True"}])"))
            .code == 422);
  w.must(w.post(root, json::write(sample(*csrs, "", "d"))), 201);
  w.must(w.patch(root + "/d/status", fmt::format(R"({{"status":{{"conditions":{}}}}})", failed), merge), 200);
}

// Observed in upstream's ValidatePodUpdate: what a gated pod asks of its node may only get narrower.
TEST_CASE("a gated pod may be given fewer nodes, never others") {
  api_world w;
  const std::string root = "/api/v1/namespaces/mine/pods";
  constexpr std::string_view spec =
      R"("containers":[{"name":"c","image":"i"}],"nodeSelector":{"disk":"ssd"},"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":
    {"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]}]}]}},"podAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"podAffinityTerm":{"topologyKey":"k"}}]}})";
  auto make = [&](std::string_view name, std::string_view gates) {
    return w.must(
        w.post(
            root,
            fmt::format(
                R"({{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{}"}},"spec":{{{},"schedulingGates":[{}]}}}})",
                name, spec, gates)),
        201);
  };
  make("gated", R"({"name":"g"})");
  make("free", "");
  const std::string terms =
      "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
  struct row {
    std::string patch;
    bool narrower;
  };
  const row rows[] = {
      {R"([{"op":"add","path":"/spec/nodeSelector/cpu","value":"arm"}])", true},
      {R"([{"op":"replace","path":"/spec/nodeSelector/disk","value":"hdd"}])", false},
      {R"([{"op":"remove","path":"/spec/nodeSelector"}])", false},
      {R"([{"op":"add","path":")" + terms + R"(/0/matchExpressions/-","value":{"key":"rack","operator":"Exists"}}])",
       true},
      {R"([{"op":"add","path":")" + terms + R"(/0/matchExpressions/0","value":{"key":"rack","operator":"Exists"}}])",
       false},
      {R"([{"op":"replace","path":")" + terms + R"(/0/matchExpressions/0/values","value":["b"]}])", false},
      {R"([{"op":"add","path":")" + terms +
           R"(/-","value":{"matchExpressions":[{"key":"rack","operator":"Exists"}]}}])",
       false},
      {R"([{"op":"remove","path":"/spec/affinity/nodeAffinity"}])", false},
      {R"([{"op":"remove","path":"/spec/affinity"}])", false},
      {R"([{"op":"remove","path":"/spec/affinity/podAffinity"}])", false},
      {R"([{"op":"add","path":"/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution","value":[{"weight":1,"preference":{"matchExpressions":[{"key":"x","operator":"Exists"}]}}]}])",
       true},
  };
  for (auto& r : rows) {
    CAPTURE(r.patch);
    for (auto name : {"gated", "free"}) {
      auto a = w.patch(root + "/" + name + "?dryRun=All", r.patch, "application/json-patch+json");
      const bool may = r.narrower && name == std::string_view("gated");
      CHECK_MESSAGE(a.code == (may ? 200 : 422), name << ": " << a.body);
    }
  }
}

TEST_CASE("a pod has no more containers than any node could run, whatever makes it") {
  api_world w;
  auto containers = [](std::size_t n) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) out += fmt::format(R"({}{{"name":"c{}","image":"i"}})", i ? "," : "", i);
    return out;
  };
  const auto one = containers(1), many = containers(containers_max + 1);
  struct {
    std::string_view path, body, at;
  } kinds[] = {
      {"/api/v1/namespaces/default/pods", R"({{"metadata":{{"name":"x"}},"spec":{}}})", "spec"},
      {"/api/v1/namespaces/default/podtemplates", R"({{"metadata":{{"name":"x"}},"template":{{"spec":{}}}}})",
       "template.spec"},
      {"/apis/apps/v1/namespaces/default/deployments",
       R"({{"metadata":{{"name":"x"}},"spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{}}}}}}})",
       "spec.template.spec"},
      {"/apis/batch/v1/namespaces/default/cronjobs",
       R"({{"metadata":{{"name":"x"}},"spec":{{"schedule":"* * * * *","jobTemplate":{{"spec":{{"template":{{"spec":{}}}}}}}}}}})",
       "spec.jobTemplate.spec.template.spec"}};
  for (auto& [path, body, at] : kinds)
    for (std::string_view list : {"containers", "initContainers"}) {
      CAPTURE(path);
      CAPTURE(list);
      auto spec = fmt::format(R"({{"restartPolicy":"{}","{}":[{}],"{}":[{}]}})",
                              path.ends_with("cronjobs") ? "Never" : "Always", list, many,
                              list == "containers" ? "initContainers" : "containers", one);
      auto refused = w.must(w.post(path, fmt::format(fmt::runtime(body), spec)), 422);
      CHECK(refused["details"]["causes"].size() == 1);
      CHECK(refused["details"]["causes"][0]["field"].as_string() == fmt::format("{}.{}", at, list));
    }
  // Nor does one grow to more.
  auto& [path, body, at] = kinds[0];
  w.must(w.post(path, fmt::format(fmt::runtime(body), fmt::format(R"({{"containers":[{}]}})", one))), 201);
  auto grown = fmt::format(R"({{"spec":{{"ephemeralContainers":[{}]}}}})", many);
  w.must(w.patch(fmt::format("{}/x/ephemeralcontainers", path), grown, merge), 422);
  // What was stored with more before there was a bound may change otherwise, and go.
  auto stored = json::parse(fmt::format(R"({{"spec":{{"containers":[{}]}}}})", many));
  REQUIRE(stored);
  causes found;
  check_pod_size(found, *stored, *stored);
  CHECK(found.empty());
  check_pod_size(found, *stored, {});
  CHECK(found.size() == 1);
}

TEST_CASE("a mirror pod stays one, and no other becomes one") {
  api_world w;
  const std::string root = "/api/v1/namespaces/mine/pods";
  auto make = [&](std::string_view name, std::string_view annotations) {
    w.must(
        w.post(
            root,
            fmt::format(
                R"({{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{}","annotations":{}}},"spec":{{"nodeName":"n1","containers":[{{"name":"c","image":"i"}}]}}}})",
                name, annotations)),
        201);
  };
  make("mirror", R"({"kubernetes.io/config.mirror":"x"})");
  make("plain", "{}");
  for (auto sub : {"", "/status", "/ephemeralcontainers"})
    for (auto& [name, annotations, code] :
         {std::tuple("mirror", R"({"kubernetes.io/config.mirror":null})", 422),
          std::tuple("mirror", R"({"kubernetes.io/config.mirror":"y"})", 422),
          std::tuple("plain", R"({"kubernetes.io/config.mirror":"x"})", 422), std::tuple("mirror", R"({"a":"b"})", 200),
          std::tuple("plain", R"({"container.apparmor.security.beta.kubernetes.io/c":"unconfined"})", 422)}) {
      CAPTURE(sub);
      CAPTURE(annotations);
      // Of a pod's debugging containers no annotation is written; a mirror has none at all.
      const bool written = sub != std::string_view("/ephemeralcontainers");
      const int of_containers = name == std::string_view("mirror") ? 422 : 200;
      auto a = w.patch(root + "/" + name + sub + "?dryRun=All",
                       fmt::format(R"({{"metadata":{{"annotations":{}}}}})", annotations), merge);
      CHECK_MESSAGE(a.code == (written ? code : of_containers), a.body);
    }
}

TEST_CASE("a resource slice stays its node's") {
  api_world w;
  auto slices = builtin_registry().find("resource.k8s.io", "v1", "resourceslices");
  w.must(w.post("/apis/resource.k8s.io/v1/resourceslices", json::write(sample(*slices, "", "s"))), 201);
  for (auto patch : {R"({"spec":{"nodeName":"n2"}})", R"({"spec":{"nodeName":null,"allNodes":true}})",
                     R"({"spec":{"driver":"other.example.com"}})", R"({"spec":{"pool":{"name":"q"}}})"})
    CHECK(w.patch("/apis/resource.k8s.io/v1/resourceslices/s", patch, merge).code == 422);
  CHECK(w.patch("/apis/resource.k8s.io/v1/resourceslices/s", R"({"spec":{"pool":{"generation":2}}})", merge).code ==
        200);
}

TEST_CASE("an answer has few warnings, whatever it is asked") {
  api_world w;
  std::string body = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{)";
  for (int i = 0; i < 5000; ++i) body += fmt::format(R"("k{0}":"v","k{0}":"v",)", i);
  body += R"("z":"v"}})";
  auto a = w.post("/api/v1/namespaces/mine/configmaps", body);
  CHECK(a.code == 201);
  const auto count = a.headers.all("Warning").size();
  CHECK(count > 10);
  CHECK(count <= 64);
  std::string unknown = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"})";
  for (int i = 0; i < 5000; ++i) unknown += fmt::format(R"(,"u{}":1)", i);
  auto b = w.post("/api/v1/namespaces/mine/configmaps", unknown + "}");
  CHECK(b.code == 201);
  CHECK(b.headers.all("Warning").size() <= 64);
}

TEST_CASE("the client of the server itself") {
  api_world w;
  resource_id maps{"", "v1", "configmaps"};
  auto made = w.loop.run_until(w.client->create(maps, "default", *json::parse(config_map("a"))));
  REQUIRE(made.has_value());
  CHECK(w.client->list(maps).size() == 1);
  auto changed = w.loop.run_until(w.client->modify(maps, "default", "a", [](json::value& o) {
    o.member("data").set("k", "changed");
    return true;
  }));
  REQUIRE(changed.has_value());
  CHECK((*w.client->get(maps, "default", "a"))["data"]["k"].as_string() == "changed");
  CHECK(w.client->prefix(maps, "default") == "/registry/configmaps/default/");
  CHECK(w.loop.run_until(w.client->remove(maps, "default", "a")).has_value());
  CHECK(w.client->get(maps, "default", "a").error().code == 404);
}

TEST_CASE("who may not, and who is not known") {
  api_world w;
  w.may.denied_resource = "pods";
  w.who.user = user_info{"jane", "", {"system:authenticated"}, {}};
  auto no = w.must(w.get("/api/v1/namespaces/default/pods/x/log"), 403);
  CHECK(
      no["message"].as_string() ==
      R"(pods "x" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "default")");
  CHECK(no["reason"].as_string() == "Forbidden");
  w.who.known = false;
  CHECK(w.must(w.get("/api/v1/pods"), 401)["message"].as_string() == "Unauthorized");
}

}  // namespace kedge::api
