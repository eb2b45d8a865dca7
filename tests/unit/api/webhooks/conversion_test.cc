// Custom resources whose versions only a webhook can bring to each other.
#include "hooked_world.h"

namespace kedge::api {
namespace {

constexpr std::string_view crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
constexpr std::string_view in_v1 = "/apis/ex.io/v1/namespaces/default/doors",
                           in_v2 = "/apis/ex.io/v2/namespaces/default/doors";

// v1 has hostPort "a:1", v2 has host and port; v1 is stored.
std::string definition(const std::string& config, std::string_view stored = "v1") {
  auto version = [&](std::string_view name, std::string_view properties, std::string_view selectable) {
    return fmt::format(
        R"({{"name":"{0}","served":true,"storage":{1},"schema":{{"openAPIV3Schema":{{"type":"object","properties":{{"spec":{{"type":"object","properties":{{{2}}}}}}}}}}},"selectableFields":[{{"jsonPath":".spec.{3}"}}]}})",
        name, stored == name, properties, selectable);
  };
  return fmt::format(
      R"({{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"doors.ex.io"}},"spec":{{"group":"ex.io","scope":"Namespaced","names":{{"plural":"doors","kind":"Door"}},"conversion":{{"strategy":"Webhook","webhook":{{"conversionReviewVersions":["v1"],"clientConfig":{}}}}},"versions":[{},{}]}}}})",
      config, version("v1", R"("hostPort":{"type":"string"})", "hostPort"),
      version("v2", R"("host":{"type":"string"},"port":{"type":"string"},"color":{"type":"string","default":"red"})",
              "host"));
}

json::value converted(json::value o, std::string_view version) {
  o.set("apiVersion", version);
  auto& spec = o.member("spec");
  if (version == "ex.io/v2") {
    auto text = std::string(spec["hostPort"].as_string());
    auto colon = text.find(':');
    spec.erase("hostPort");
    spec.set("host", text.substr(0, colon));
    spec.set("port", colon == text.npos ? std::string() : text.substr(colon + 1));
    spec.set("unknown", 1);
  } else {
    spec.set("hostPort", fmt::format("{}:{}", spec["host"].as_string(), spec["port"].as_string()));
    spec.erase("host");
    spec.erase("port");
    spec.erase("color");
  }
  return o;
}

std::string reviewed(const json::value& review, json::array objects,
                     std::string_view result = R"({"status":"Success"})") {
  auto text = json::write(json::value(std::move(objects)));
  return fmt::format(
      R"({{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","response":{{"uid":"{}","result":{},"convertedObjects":{}}}}})",
      review["request"]["uid"].as_string(), result, text);
}

// Answers with the objects converted, and `spoilt`.
script converting(std::function<void(json::array&)> spoil = nullptr) {
  return [spoil](const json::value& review) -> task<std::string> {
    json::array out;
    auto& q = review["request"];
    for (std::size_t i = 0; i < q["objects"].size(); ++i)
      out.push_back(converted(q["objects"][i], q["desiredAPIVersion"].as_string()));
    if (spoil) spoil(out);
    co_return reviewed(review, std::move(out));
  };
}

struct door_world : hooked_world {
  explicit door_world(script s = converting()) {
    scripts["/convert"] = std::move(s);
    must(post(crds, definition(client_config("/convert"))), 201);
    establish();
  }
  void establish() {
    auto crd = must(get(fmt::format("{}/doors.ex.io", crds)), 200);
    crd.member("status").set("acceptedNames", crd["spec"]["names"]);
    crd.member("status").set("conditions", json::array{json::object{{"type", "Established"},
                                                                    {"status", "True"},
                                                                    {"reason", "x"},
                                                                    {"message", ""},
                                                                    {"lastTransitionTime", "2026-01-01T00:00:00Z"}}});
    must(put(fmt::format("{}/doors.ex.io/status", crds), json::write(crd)), 200);
  }
  // Another version is stored from now on.
  void store_in(std::string_view version) {
    auto crd = must(get(fmt::format("{}/doors.ex.io", crds)), 200);
    auto other = *json::parse(definition(client_config("/convert"), version));
    crd.member("spec").set("versions", other["spec"]["versions"]);
    must(put(fmt::format("{}/doors.ex.io", crds), json::write(crd)), 200);
    loop.turn(monotonic_clock::now() + std::chrono::milliseconds(1));
  }
};

std::string door(std::string_view version, std::string_view name, std::string_view spec) {
  return fmt::format(R"({{"apiVersion":"ex.io/{}","kind":"Door","metadata":{{"name":"{}"}},"spec":{}}})", version, name,
                     spec);
}

}  // namespace

TEST_CASE("an object is read, written, listed and watched in each version") {
  door_world w;
  auto one = w.must(w.post(in_v1, door("v1", "a", R"({"hostPort":"h:1"})")), 201);
  CHECK(w.asked["/convert"].empty());
  auto two = w.must(w.get(std::string(in_v2) + "/a"), 200);
  // Converted, pruned and defaulted by the version's schema; metadata is what it was.
  CHECK(json::write(two["spec"]) == R"({"color":"red","host":"h","port":"1"})");
  CHECK(two["metadata"] == one["metadata"]);
  auto made = w.must(w.post(in_v2, door("v2", "b", R"({"host":"g","port":"2"})")), 201);
  CHECK(made["apiVersion"].as_string() == "ex.io/v2");
  CHECK(made["spec"]["host"].as_string() == "g");
  CHECK(w.must(w.get(std::string(in_v1) + "/b"), 200)["spec"]["hostPort"].as_string() == "g:2");
  auto changed = w.must(w.patch(std::string(in_v2) + "/a", R"({"spec":{"port":"3"}})", merge), 200);
  CHECK(changed["spec"]["port"].as_string() == "3");
  CHECK(w.must(w.get(std::string(in_v1) + "/a"), 200)["spec"]["hostPort"].as_string() == "h:3");
  auto list = w.must(w.get(in_v2), 200);
  REQUIRE(list["items"].size() == 2);
  CHECK(list["items"][0]["spec"]["port"].as_string() == "3");
  CHECK(list["items"][1]["spec"]["host"].as_string() == "g");

  running_watch watch(
      w, std::string(in_v2) +
             "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
  CHECK(watch.next()["object"]["spec"]["host"].as_string() == "h");
  CHECK(watch.next()["object"]["spec"]["host"].as_string() == "g");
  CHECK(watch.next()["type"].as_string() == "BOOKMARK");
  w.must(w.patch(std::string(in_v1) + "/b", R"({"spec":{"hostPort":"i:4"}})", merge), 200);
  auto event = watch.next();
  CHECK(event["type"].as_string() == "MODIFIED");
  CHECK(event["object"]["apiVersion"].as_string() == "ex.io/v2");
  CHECK(event["object"]["spec"]["host"].as_string() == "i");
  w.must(w.remove(std::string(in_v1) + "/b"), 200);
  CHECK(watch.next()["type"].as_string() == "DELETED");
}

TEST_CASE("a list of mixed versions takes one call, and fields are selected in the version that is asked for") {
  door_world w;
  for (auto name : {"a", "b", "c"})
    w.must(w.post(in_v1, door("v1", name, fmt::format(R"({{"hostPort":"{}:1"}})", name))), 201);
  w.store_in("v2");
  for (auto name : {"d", "e"})
    w.must(w.post(in_v2, door("v2", name, fmt::format(R"({{"host":"{}","port":"1"}})", name))), 201);
  w.asked.clear();
  auto list = w.must(w.get(in_v2), 200);
  REQUIRE(list["items"].size() == 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(list["items"][i]["spec"]["port"].as_string() == "1");
  REQUIRE(w.asked["/convert"].size() == 1);
  CHECK(w.asked["/convert"][0]["request"]["objects"].size() == 3);
  auto chosen = w.must(w.get(std::string(in_v2) + "?fieldSelector=spec.host%3Db"), 200);
  REQUIRE(chosen["items"].size() == 1);
  CHECK(chosen["items"][0]["metadata"]["name"].as_string() == "b");
  chosen = w.must(w.get(std::string(in_v1) + "?fieldSelector=spec.hostPort%3Dd:1"), 200);
  REQUIRE(chosen["items"].size() == 1);
  CHECK(chosen["items"][0]["metadata"]["name"].as_string() == "d");
  // In pages, too.
  auto first = w.must(w.get(std::string(in_v2) + "?limit=2"), 200);
  CHECK(first["items"].size() == 2);
  CHECK(first["metadata"]["remainingItemCount"].as_integer() == 3);
  auto rest = w.must(w.get(fmt::format("{}?continue={}", in_v2, first["metadata"]["continue"].as_string())), 200);
  CHECK(rest["items"].size() == 3);
}

TEST_CASE("conversions that fail, and those that lie: the real server's words") {
  struct row {
    std::string_view what;
    script says;
    std::string told;
    std::string_view counted = "invalid_converted_object";
  };
  auto lies = [](std::function<void(json::value&)> f) { return converting([f](json::array& all) { f(all.front()); }); };
  const std::string before = "conversion webhook for ex.io/v1, Kind=Door ";
  const row rows[] = {
      {"no object", converting([](json::array& all) { all.clear(); }), before + "returned 0 objects, expected 1",
       "partial_response"},
      {"its own failure",
       [](const json::value& review) -> task<std::string> {
         co_return reviewed(review, {}, R"({"status":"Failure","message":"can't"})");
       },
       before + "failed: can't", "malformed_response"},
      {"no result", [](const json::value& review) -> task<std::string> { co_return reviewed(review, {}, "{}"); },
       before + "failed: response.result.status was '', not 'Success'", "malformed_response"},
      {"another version", lies([](json::value& o) { o.set("apiVersion", "ex.io/v3"); }),
       before + "returned invalid converted object: invalid groupVersion (expected ex.io/v2, received ex.io/v3)"},
      {"another kind", lies([](json::value& o) { o.set("kind", "Gate"); }),
       before + "returned invalid converted object: invalid kind (expected Door, received Gate)"},
      {"another name", lies([](json::value& o) { o.member("metadata").set("name", "z"); }),
       before + "returned invalid converted object: must have the same name: a != z"},
      {"no metadata", lies([](json::value& o) { o.set("metadata", "x"); }),
       before + "returned invalid converted object: must have the same name: a != "},
      {"a label that is none", lies([](json::value& o) { o.member("metadata").set("labels", json::object{{"a", 1}}); }),
       before + "returned invalid metadata in object: metadata.labels[a] must be a string, but is int64 in converted "
                "object"},
  };
  for (auto& r : rows) {
    CAPTURE(r.what);
    door_world w(r.says);
    w.must(w.post(in_v1, door("v1", "a", R"({"hostPort":"h:1"})")), 201);
    auto a = w.get(std::string(in_v2) + "/a");
    CHECK(a.code == 500);
    CHECK(message_of(a) == r.told);
    const auto series = fmt::format(
        R"(apiserver_conversion_webhook_request_total{{failure_type="conversion_webhook_{}_failure",result="failure"}} 1)",
        r.counted);
    CHECK_MESSAGE(w.measures.text().find(series) != std::string::npos, series);
    CHECK(w.get(in_v2).code == 500);
    // The stored version goes on.
    w.must(w.get(std::string(in_v1) + "/a"), 200);
    w.must(w.patch(std::string(in_v1) + "/a", R"({"spec":{"hostPort":"h:2"}})", merge), 200);
  }
}

TEST_CASE("labels and annotations may change, nothing else of the metadata") {
  door_world w(converting([](json::array& all) {
    auto& m = all.front().member("metadata");
    m.set("labels", json::object{{"by", "hook"}});
    m.set("finalizers", json::array{"ex.io/f"});
    m.set("generation", 99);
  }));
  w.must(w.post(in_v1, door("v1", "a", R"({"hostPort":"h:1"})")), 201);
  auto two = w.must(w.get(std::string(in_v2) + "/a"), 200);
  auto& m = two["metadata"];
  CHECK(m["labels"]["by"].as_string() == "hook");
  CHECK(m["finalizers"].is_null());
  CHECK(m["generation"].as_integer() == 1);
}

TEST_CASE("admission webhooks are told of custom resources in the version that they know") {
  door_world w;
  w.on("/h", [](const json::value&) {
    return fmt::format(
        R"(,"allowed":true,"patchType":"JSONPatch","patch":"{}")",
        base64(as_bytes(
            R"([{"op":"add","path":"/spec/port","value":"9"},{"op":"add","path":"/spec/strange","value":1}])")));
  });
  w.hook("Mutating", "h", "/h",
         R"([{"operations":["CREATE"],"apiGroups":["ex.io"],"apiVersions":["v2"],"resources":["doors"]}])");
  auto made = w.must(w.post(in_v1, door("v1", "a", R"({"hostPort":"h:1"})")), 201);
  CHECK(json::write(made["spec"]) == R"({"hostPort":"h:9"})");
  auto& q = w.asked["/h"][0]["request"];
  CHECK(q["kind"]["version"].as_string() == "v2");
  CHECK(q["requestKind"]["version"].as_string() == "v1");
  CHECK(q["object"]["spec"]["host"].as_string() == "h");
}

namespace {

// A policy on doors as v2 has them, or with params of that kind, and a binding of it.
void govern(hooked_world& w, std::string_view kind, std::string_view name, const std::string& spec,
            const std::string& binding = "") {
  constexpr std::string_view group = "/apis/admissionregistration.k8s.io/v1";
  const auto path =
      fmt::format("{}/{}", group, kind == "Validating" ? "validatingadmissionpolicies" : "mutatingadmissionpolicies");
  const auto bindings = fmt::format(
      "{}/{}", group, kind == "Validating" ? "validatingadmissionpolicybindings" : "mutatingadmissionpolicybindings");
  w.must(
      w.post(
          path,
          fmt::format(
              R"({{"apiVersion":"admissionregistration.k8s.io/v1","kind":"{}AdmissionPolicy","metadata":{{"name":"{}"}},"spec":{{{}}}}})",
              kind, name, spec)),
      201);
  w.must(
      w.post(
          bindings,
          fmt::format(
              R"({{"apiVersion":"admissionregistration.k8s.io/v1","kind":"{0}AdmissionPolicyBinding","metadata":{{"name":"{1}"}},"spec":{{"policyName":"{1}"{2}{3}}}}})",
              kind, name, kind == "Validating" ? R"(,"validationActions":["Deny"])" : "", binding)),
      201);
  for (int i = 0; i < 20; ++i) w.loop.turn(w.loop.now());
}

constexpr std::string_view doors_in_v2 =
    R"("matchConstraints":{"matchPolicy":"Equivalent","resourceRules":[{"operations":["CREATE","UPDATE"],"apiGroups":["ex.io"],"apiVersions":["v2"],"resources":["doors"]}]})";

}  // namespace

TEST_CASE("policies judge a custom resource in the version that they know, as its webhook converts it") {
  door_world w;
  w.obey_policies();
  govern(
      w, "Validating", "ports",
      fmt::format(
          R"({},"validations":[{{"expression":"!has(object.spec.port) || object.spec.port != '666'"}},{{"expression":"oldObject == null || !has(oldObject.spec.port) || oldObject.spec.port != '7'"}}])",
          doors_in_v2));
  w.must(w.post(in_v2, door("v2", "a", R"({"host":"h","port":"666"})")), 422);
  w.must(w.post(in_v1, door("v1", "a", R"({"hostPort":"h:666"})")), 422);
  w.must(w.post(in_v1, door("v1", "a", R"({"hostPort":"h:7"})")), 201);
  // What was there before, too.
  w.must(w.patch(std::string(in_v1) + "/a", R"({"spec":{"hostPort":"h:1"}})", merge), 422);
  // A webhook that converts nothing any more: the policy says what becomes of that.
  w.scripts["/convert"] = [](const json::value&) -> task<std::string> { co_return "abort"; };
  w.must(w.post(in_v1, door("v1", "b", R"({"hostPort":"h:1"})")), 422);
}

TEST_CASE("a policy that passes over its failures passes over a conversion's") {
  door_world w;
  w.obey_policies();
  govern(w, "Validating", "ports",
         fmt::format(R"("failurePolicy":"Ignore",{},"validations":[{{"expression":"false"}}])", doors_in_v2));
  w.must(w.post(in_v1, door("v1", "a", R"({"hostPort":"h:1"})")), 422);
  w.scripts["/convert"] = [](const json::value&) -> task<std::string> { co_return "abort"; };
  w.must(w.post(in_v1, door("v1", "a", R"({"hostPort":"h:1"})")), 201);
}

TEST_CASE("a policy's params are what the webhook makes of them in the version that it names") {
  door_world w;
  w.obey_policies();
  w.must(w.post(in_v1, door("v1", "limit", R"({"hostPort":"most:5"})")), 201);
  govern(
      w, "Validating", "limits",
      R"x("paramKind":{"apiVersion":"ex.io/v2","kind":"Door"},"matchConstraints":{"resourceRules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["configmaps"]}]},"validations":[{"expression":"has(params.spec.port) && int(params.spec.port) >= size(object.data)"}])x",
      R"(,"paramRef":{"name":"limit","namespace":"default","parameterNotFoundAction":"Deny"})");
  auto map = [](std::string_view data) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"generateName":"m"}},"data":{}}})", data);
  };
  w.must(w.post(maps, map(R"({"a":"1"})")), 201);
  w.must(w.post(maps, map(R"({"a":"1","b":"2","c":"3","d":"4","e":"5","f":"6"})")), 422);
  w.scripts["/convert"] = [](const json::value&) -> task<std::string> { co_return "abort"; };
  w.must(w.post(maps, map(R"({"a":"1"})")), 422);
}

TEST_CASE("what a policy changes in the version that it knows arrives in the one that was asked for") {
  door_world w;
  w.obey_policies();
  govern(
      w, "Mutating", "ports",
      fmt::format(
          R"({},"reinvocationPolicy":"Never","mutations":[{{"patchType":"ApplyConfiguration","applyConfiguration":{{"expression":"Object{{spec: Object.spec{{port: '9'}}}}"}}}}])",
          doors_in_v2));
  CHECK(w.must(w.post(in_v1, door("v1", "a", R"({"hostPort":"h:1"})")), 201)["spec"]["hostPort"].as_string() == "h:9");
  CHECK(w.must(w.post(in_v2, door("v2", "b", R"({"host":"h","port":"1"})")), 201)["spec"]["port"].as_string() == "9");
  w.scripts["/convert"] = [](const json::value&) -> task<std::string> { co_return "abort"; };
  CHECK(w.post(in_v1, door("v1", "c", R"({"hostPort":"h:1"})")).code >= 400);
}

TEST_CASE("a policy is told the object's name after another has changed it in another version") {
  door_world w;
  w.obey_policies();
  constexpr std::string_view doors_in_v1 =
      R"("matchConstraints":{"matchPolicy":"Exact","resourceRules":[{"operations":["CREATE"],"apiGroups":["ex.io"],"apiVersions":["v1"],"resources":["doors"]}]})";
  const auto setting = [](std::string_view where, std::string_view field, std::string_view text) {
    return fmt::format(
        R"({},"reinvocationPolicy":"Never","mutations":[{{"patchType":"ApplyConfiguration","applyConfiguration":{{"expression":"Object{{spec: Object.spec{{{}: {}}}}}"}}}}])",
        where, field, text);
  };
  govern(w, "Mutating", "a", setting(doors_in_v1, "hostPort", "'h:1'"));
  govern(w, "Mutating", "b", setting(doors_in_v2, "port", "request.name"));
  const std::string name(200, 'n');  // a piece of memory of its own
  CHECK(w.must(w.post(in_v1, door("v1", name, "{}")), 201)["spec"]["hostPort"].as_string() == "h:" + name);
}

}  // namespace kedge::api
