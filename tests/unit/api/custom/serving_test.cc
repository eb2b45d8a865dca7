// Custom resources through the handler: defined, served, changed, and gone.
#include "../harness.h"
#include "api/custom/tables.h"

namespace kedge::api {
namespace {

constexpr std::string_view crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
constexpr std::string_view things = "/apis/ex.io/v1/namespaces/default/things";

struct custom_world : api_world {
  custom::tables tables{*objects};
  custom_world() {
    handler = std::make_unique<api_handler>(api_parts{.objects = *objects,
                                                      .who = who,
                                                      .may = may,
                                                      .rules = rules,
                                                      .checks = checks,
                                                      .measures = measures,
                                                      .ranges = ranges,
                                                      .server_address = "10.0.0.1:6443",
                                                      .custom = &tables});
    client = make_objects(*objects, rules, ranges, &tables);
    tables.follow();
  }
  // What the controller does.
  void establish(std::string_view name) {
    auto crd = must(get(fmt::format("{}/{}", crds, name)), 200);
    crd.member("status").set("acceptedNames", crd["spec"]["names"]);
    crd.member("status").set("conditions", json::array{json::object{{"type", "Established"},
                                                                    {"status", "True"},
                                                                    {"reason", "x"},
                                                                    {"message", ""},
                                                                    {"lastTransitionTime", "2026-01-01T00:00:00Z"}}});
    must(put(fmt::format("{}/{}/status", crds, name), json::write(crd)), 200);
  }
  void define(std::string_view text, std::string_view name = "things.ex.io") {
    must(post(crds, text), 201);
    establish(name);
  }
};

std::string crd_text(std::string_view schema, std::string_view more = "", std::string_view scope = "Namespaced") {
  return fmt::format(
      R"({{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"things.ex.io"}},"spec":{{"group":"ex.io","scope":"{}",
    "names":{{"plural":"things","kind":"Thing","shortNames":["th"]}},"versions":[{{"name":"v1","served":true,"storage":true,"schema":{{"openAPIV3Schema":{}}}{}}}]}}}})",
      scope, schema, more);
}

constexpr std::string_view color_schema =
    R"({"type":"object","properties":{"spec":{"type":"object","properties":{"color":{"type":"string","enum":["red","blue"]},"size":{"type":"integer","default":3},"replicas":{"type":"integer"}}},"status":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}})";

std::string thing(std::string_view name, std::string_view spec = "{}", std::string_view version = "v1") {
  return fmt::format(R"({{"apiVersion":"ex.io/{}","kind":"Thing","metadata":{{"name":"{}"}},"spec":{}}})", version,
                     name, spec);
}

std::string spec_of(const json::value& v) { return json::write(v["spec"]); }

}  // namespace

TEST_CASE("a custom resource lives its life") {
  custom_world w;
  w.define(crd_text(color_schema));
  auto made = w.must(w.post(things, thing("a", R"({"color":"red"})")), 201);
  CHECK(spec_of(made) == R"({"color":"red","size":3})");
  CHECK(made["metadata"]["generation"].as_integer() == 1);
  CHECK(made["apiVersion"].as_string() == "ex.io/v1");
  CHECK(w.must(w.get(fmt::format("{}/a", things)), 200) == made);

  auto list = w.must(w.get(things), 200);
  CHECK(list["kind"].as_string() == "ThingList");
  CHECK(list["items"][0]["kind"].as_string() == "Thing");  // unlike built-in kinds
  CHECK(list["items"][0] == made);

  auto patched = w.must(w.patch(fmt::format("{}/a", things), R"({"spec":{"color":"blue","unknown":1}})", merge), 200);
  CHECK(spec_of(patched) == R"({"color":"blue","size":3})");
  CHECK(patched["metadata"]["generation"].as_integer() == 2);
  auto same = w.must(w.patch(fmt::format("{}/a", things), R"({"spec":{"color":"blue"}})", merge), 200);
  CHECK(same["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"]);
  CHECK(w.patch(fmt::format("{}/a", things), R"({"spec":{"color":"blue"}})", strategic).code == 415);
  auto moved = w.must(w.patch(fmt::format("{}/a", things), R"([{"op":"replace","path":"/spec/size","value":9}])",
                              "application/json-patch+json"),
                      200);
  CHECK(spec_of(moved) == R"({"color":"blue","size":9})");

  auto replaced = moved;
  replaced.member("spec").erase("size");
  CHECK(spec_of(w.must(w.put(fmt::format("{}/a", things), json::write(replaced)), 200)) ==
        R"({"color":"blue","size":3})");
  auto blind = replaced;
  blind.member("metadata").erase("resourceVersion");
  auto refused = w.must(w.put(fmt::format("{}/a", things), json::write(blind)), 422);
  CHECK(refused["message"].as_string() ==
        R"(things.ex.io "a" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update)");

  w.must(w.post(things, thing("b")), 201);
  w.must(w.remove(fmt::format("{}/a", things)), 200);
  CHECK(w.get(fmt::format("{}/a", things)).code == 404);
  CHECK(w.must(w.remove(things), 200)["items"].size() == 1);
  CHECK(w.must(w.get(things), 200)["items"].empty());
}

TEST_CASE("custom resources are applied by their schema's topology") {
  custom_world w;
  w.define(crd_text(
      R"({"type":"object","properties":{"spec":{"type":"object","properties":{"color":{"type":"string"},"size":{"type":"integer","default":3},
    "ports":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["port"],"items":{"type":"object","required":["port"],"properties":{"port":{"type":"integer"},"name":{"type":"string"}}}},
    "tags":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},"whole":{"type":"array","items":{"type":"string"}},
    "pairs":{"type":"object","additionalProperties":{"type":"string"}},"free":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}})"));
  auto apply = [&](std::string_view manager, std::string_view spec, std::string_view more = {}) {
    return w.patch(fmt::format("{}/a?fieldManager={}{}", things, manager, more), thing("a", spec),
                   "application/apply-patch+yaml");
  };
  auto fields = [](const json::value& v, std::size_t i) {
    return json::write(v["metadata"]["managedFields"][i]["fieldsV1"]);
  };
  auto made = w.must(
      apply(
          "m1",
          R"({"color":"red","ports":[{"port":80}],"tags":["a"],"whole":["x"],"pairs":{"k":"v"},"free":{"x":{"y":[1]}}})"),
      201);
  CHECK(
      fields(made, 0) ==
      R"({"f:spec":{"f:color":{},"f:free":{"f:x":{".":{},"f:y":{}}},"f:pairs":{"f:k":{}},"f:ports":{"k:{\"port\":80}":{".":{},"f:port":{}}},"f:tags":{"v:\"a\"":{}},"f:whole":{}}})");
  CHECK(made["spec"]["size"].as_integer() == 3);
  CHECK(
      w.must(
          apply(
              "m1",
              R"({"color":"red","ports":[{"port":80}],"tags":["a"],"whole":["x"],"pairs":{"k":"v"},"free":{"x":{"y":[1]}}})"),
          200) == made);
  auto both = w.must(apply("m2", R"({"ports":[{"port":81,"name":"n"}],"tags":["b"],"free":{"x":{"z":1}}})"), 200);
  CHECK(json::write(both["spec"]["ports"]) == R"([{"port":80},{"name":"n","port":81}])");
  CHECK(json::write(both["spec"]["tags"]) == R"(["a","b"])");
  CHECK(json::write(both["spec"]["free"]) == R"({"x":{"y":[1],"z":1}})");
  CHECK(w.must(apply("m2", R"({"whole":["y"]})"), 409)["message"].as_string() ==
        R"(Apply failed with 1 conflict: conflict with "m1": .spec.whole)");
  auto less = w.must(apply("m1", R"({"ports":[{"port":80}]})"), 200);
  CHECK(spec_of(less) ==
        R"({"free":{"x":{"z":1}},"ports":[{"port":80},{"name":"n","port":81}],"size":3,"tags":["b"]})");
  CHECK(w.must(apply("m1", R"({"zzz":1})"), 500)["message"].as_string() ==
        "failed to create typed patch object (/a; ex.io/v1, Kind=Thing): .spec.zzz: field not declared in schema");

  auto posted = w.must(w.post(fmt::format("{}?fieldManager=p", things), thing("b", R"({"color":"red"})")), 201);
  CHECK(fields(posted, 0) == R"({"f:spec":{".":{},"f:color":{},"f:size":{}}})");
  auto reset = w.must(w.patch(fmt::format("{}/b", things), R"({"metadata":{"managedFields":[]}})", merge), 200);
  CHECK(reset["metadata"]["managedFields"].is_null());
}

namespace {
// What is said to an apply that takes back all that is in `spec`, and still names it.
std::string refusal_of_emptied() {
  custom_world w;
  w.define(crd_text(
      R"({"type":"object","properties":{"spec":{"type":"object","properties":{"level":{"type":"string"}}}}})"));
  auto apply = [&](std::string_view spec) {
    return w.patch(fmt::format("{}/d?fieldManager=m", things), thing("d", spec), "application/apply-patch+yaml");
  };
  w.must(apply(R"({"level":"low"})"), 201);
  auto emptied = std::string(w.must(apply("{}"), 422)["message"].as_string());
  CHECK(w.must(apply("null"), 422)["message"].as_string() == emptied);
  return emptied;
}
}  // namespace

// As a real kube-apiserver answered: what an apply comes to is not mended, what else clients send is
// (kubernetes#103011).
TEST_CASE("nulls of custom resources") {
  custom_world w;
  w.define(crd_text(
      R"({"type":"object","properties":{"spec":{"type":"object","properties":{"level":{"type":"string"},"alarm":{"type":"object","properties":{"on":{"type":"boolean"}}},
    "valve":{"type":"object","nullable":true,"properties":{"size":{"type":"integer"}}},"mode":{"type":"string","default":"auto"}}}}})"));
  auto apply = [&](std::string_view spec) {
    return w.patch(fmt::format("{}/a?fieldManager=m", things), thing("a", spec), "application/apply-patch+yaml");
  };
  auto spec_after = [&](std::string_view spec, int code) { return spec_of(w.must(apply(spec), code)); };
  auto refusal = [&](std::string_view spec) { return std::string(w.must(apply(spec), 422)["message"].as_string()); };
  CHECK(spec_after("{}", 201) == R"({"mode":"auto"})");
  CHECK(spec_after(R"({"level":"low"})", 200) == R"({"level":"low","mode":"auto"})");
  CHECK(spec_after("{}", 200) == R"({"mode":"auto"})");
  CHECK(
      refusal(R"({"alarm":null})") ==
      R"(Thing.ex.io "a" is invalid: spec.alarm: Invalid value: "null": spec.alarm in body must be of type object: "null")");
  CHECK(spec_after(R"({"mode":null})", 200) == R"({"mode":"auto"})");
  CHECK(spec_after(R"({"valve":{"size":3}})", 200) == R"({"mode":"auto","valve":{"size":3}})");
  CHECK(spec_after(R"({"valve":null})", 200) == R"({"mode":"auto","valve":null})");
  CHECK(spec_after(R"({"alarm":{"on":true}})", 200) == R"({"alarm":{"on":true},"mode":"auto"})");
  CHECK(spec_after(R"({"level":"low"})", 200) == R"({"level":"low","mode":"auto"})");
  auto b = w.must(w.post(things, thing("b", R"({"alarm":null,"valve":null})")), 201);
  CHECK(spec_of(b) == R"({"mode":"auto","valve":null})");
  CHECK(w.must(w.patch(fmt::format("{}/b", things), R"([{"op":"add","path":"/spec/alarm","value":null}])",
                       "application/json-patch+json"),
               200)["spec"]
            .find("alarm") == nullptr);
  CHECK(w.must(w.post(things, thing("c", "null")), 201).find("spec") == nullptr);
  CHECK(refusal_of_emptied() ==
        R"(Thing.ex.io "d" is invalid: spec: Invalid value: "null": spec in body must be of type object: "null")");
}

TEST_CASE("bodies of custom resources that don't fit") {
  custom_world w;
  w.define(crd_text(color_schema));
  struct row {
    std::string body, query, message;
    int code;
  };
  const row rows[] = {
      {thing("x", R"({"color":"green"})"), "",
       R"(Thing.ex.io "x" is invalid: spec.color: Unsupported value: "green": supported values: "red", "blue")", 422},
      {thing("x", R"({"size":"big"})"), "",
       R"(Thing.ex.io "x" is invalid: spec.size: Invalid value: "string": spec.size in body must be of type integer: "string")",
       422},
      {thing("x", R"({"foo":1,"color":"red","color":"blue"})"), "?fieldValidation=Strict",
       R"(Thing in version "v1" cannot be handled as a Thing: strict decoding error: duplicate field "spec.color", unknown field "spec.foo")",
       400},
      {R"({"apiVersion":"ex.io/v1","kind":"Thing","metadata":{"name":"x","colour":"no"}})", "?fieldValidation=Strict",
       R"(Thing in version "v1" cannot be handled as a Thing: strict decoding error: unknown field "metadata.colour")",
       400},
      {thing("x", "{}", "v2"), "",
       "the API version in the data (ex.io/v2) does not match the expected API version (ex.io/v1)", 400},
      {R"({"kind":"Thing","metadata":{"name":"x"}})", "",
       "the API version in the data () does not match the expected API version (ex.io/v1)", 400},
      {R"({"apiVersion":"ex.io/v1","kind":"Other","metadata":{"name":"x"}})", "",
       R"(Thing.ex.io "x" is invalid: kind: Invalid value: "Other": must be Thing)", 422},
      {thing("Bad_Name"), "", "", 422},
  };
  for (auto& r : rows) {
    CAPTURE(r.body);
    auto answer = w.must(w.post(fmt::format("{}{}", things, r.query), r.body), r.code);
    if (!r.message.empty()) CHECK(answer["message"].as_string() == r.message);
  }
  auto warned = w.post(things, thing("y", R"({"foo":1})"));
  CHECK(warned.code == 201);
  CHECK(warned.headers.get("Warning") == R"(299 - "unknown field \"spec.foo\"")");
  CHECK(w.post(things, thing("z"), {{"Content-Type", "application/vnd.kubernetes.protobuf"}}).code == 415);
  CHECK(w.get(things, {{"Accept", "application/vnd.kubernetes.protobuf"}}).code == 406);
  CHECK(w.get(things, {{"Accept", "application/vnd.kubernetes.protobuf,application/json"}}).code == 200);
}

TEST_CASE("status and scale of a custom resource") {
  custom_world w;
  w.define(crd_text(
      color_schema,
      R"(,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas","labelSelectorPath":".status.selector"}})"));
  auto with_status = w.must(
      w.post(
          things,
          R"({"apiVersion":"ex.io/v1","kind":"Thing","metadata":{"name":"a","labels":{"l":"1"}},"spec":{"replicas":2},"status":{"x":1}})"),
      201);
  CHECK(with_status["status"].is_null());
  auto next = with_status;
  next.set("status", json::object{{"replicas", 1}, {"selector", "app=a"}});
  next.member("spec").set("replicas", 7);
  next.member("metadata").member("labels").set("l", "2");
  auto after = w.must(w.put(fmt::format("{}/a/status", things), json::write(next)), 200);
  CHECK(after["spec"]["replicas"].as_integer() == 2);
  CHECK(after["metadata"]["labels"]["l"].as_string() == "1");
  CHECK(after["metadata"]["generation"].as_integer() == 1);
  CHECK(after["status"]["replicas"].as_integer() == 1);
  auto main = w.must(w.patch(fmt::format("{}/a", things), R"({"status":{"replicas":99}})", merge), 200);
  CHECK(main["status"]["replicas"].as_integer() == 1);

  auto scale = w.must(w.get(fmt::format("{}/a/scale", things)), 200);
  CHECK(scale["kind"].as_string() == "Scale");
  CHECK(json::write(scale["spec"]) == R"({"replicas":2})");
  CHECK(json::write(scale["status"]) == R"({"replicas":1,"selector":"app=a"})");
  auto scaled = w.must(w.patch(fmt::format("{}/a/scale", things), R"({"spec":{"replicas":5}})", merge), 200);
  CHECK(scaled["spec"]["replicas"].as_integer() == 5);
  auto now = w.must(w.get(fmt::format("{}/a", things)), 200);
  CHECK(now["spec"]["replicas"].as_integer() == 5);
  CHECK(now["metadata"]["generation"].as_integer() == 2);
}

TEST_CASE("versions differ in apiVersion, schema and columns only") {
  custom_world w;
  w.define(
      R"({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.ex.io"},"spec":{"group":"ex.io","scope":"Cluster",
    "names":{"plural":"things","kind":"Thing"},"versions":[
    {"name":"v1beta1","served":true,"storage":true,"deprecated":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}},
     "additionalPrinterColumns":[{"name":"Color","type":"string","jsonPath":".spec.color"},{"name":"Size","type":"integer","jsonPath":".spec.size","priority":1}]},
    {"name":"v1","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"spec":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"extra":{"type":"string","default":"yes"}}}}}}}]}})");
  auto made = w.must(
      w.post("/apis/ex.io/v1/things",
             R"({"apiVersion":"ex.io/v1","kind":"Thing","metadata":{"name":"a"},"spec":{"color":"red","size":4}})"),
      201);
  CHECK(made["apiVersion"].as_string() == "ex.io/v1");
  CHECK(made["spec"]["extra"].as_string() == "yes");
  auto old = w.get("/apis/ex.io/v1beta1/things/a");
  CHECK(old.json()["apiVersion"].as_string() == "ex.io/v1beta1");
  CHECK(old.headers.get("Warning") == R"(299 - "ex.io/v1beta1 Thing is deprecated")");
  for (auto version : {"v1", "v1beta1"}) {
    auto list = w.must(w.get(fmt::format("/apis/ex.io/{}/things", version)), 200);
    CHECK(list["items"][0]["apiVersion"].as_string() == fmt::format("ex.io/{}", version));
  }
  auto changed = w.must(w.patch("/apis/ex.io/v1beta1/things/a", R"({"spec":{"size":5}})", merge), 200);
  CHECK(changed["apiVersion"].as_string() == "ex.io/v1beta1");
  CHECK(w.must(w.get("/apis/ex.io/v1/things/a"), 200)["spec"]["size"].as_integer() == 5);

  const header_list as_table = {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}};
  auto table = w.must(w.get("/apis/ex.io/v1beta1/things", as_table), 200);
  CHECK(table["columnDefinitions"].size() == 3);
  CHECK(table["columnDefinitions"][2]["priority"].as_integer() == 1);
  CHECK(json::write(table["rows"][0]["cells"]) == R"(["a","red",5])");
  auto plain = w.must(w.get("/apis/ex.io/v1/things", as_table), 200);
  CHECK(plain["columnDefinitions"][1]["name"].as_string() == "Age");

  // Discovery prefers the stable version.
  auto group = w.must(w.get("/apis/ex.io"), 200);
  CHECK(group["preferredVersion"]["version"].as_string() == "v1");
  CHECK(group["versions"].size() == 2);
  auto resources = w.must(w.get("/apis/ex.io/v1"), 200);
  CHECK(json::write(resources["resources"][0]["verbs"]) ==
        R"(["delete","deletecollection","get","list","patch","create","update","watch"])");
  auto all = w.get("/apis", {{"Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}});
  CHECK(all.body.find(R"("metadata":{"name":"ex.io"})") != std::string::npos);
}

TEST_CASE("an object is judged by the version that it was written in") {
  custom_world w;
  auto version = [](std::string_view name, bool stored, std::string_view allowed) {
    return fmt::format(
        R"({{"name":"{}","served":true,"storage":{},"schema":{{"openAPIV3Schema":{{"type":"object","properties":{{"spec":{{"type":"object","properties":{{"color":{{"type":"string","enum":{}}}}}}}}}}}}}}})",
        name, stored, allowed);
  };
  w.define(fmt::format(
      R"({{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"things.ex.io"}},"spec":{{"group":"ex.io","scope":"Namespaced",
    "names":{{"plural":"things","kind":"Thing"}},"versions":[{},{}]}}}})",
      version("v1", true, R"(["red"])"), version("v2", false, R"(["red","blue"])")));
  constexpr std::string_view second = "/apis/ex.io/v2/namespaces/default/things";
  w.must(w.post(second, thing("a", R"({"color":"blue"})", "v2")), 201);
  w.must(w.post(things, thing("b", R"({"color":"blue"})")), 422);
  w.must(w.patch(fmt::format("{}/a", second), R"({"metadata":{"labels":{"x":"y"}}})", merge), 200);
  // Through the other version, what stands unchanged is not complained about.
  w.must(w.patch(fmt::format("{}/a", things), R"({"metadata":{"labels":{"x":"z"}}})", merge), 200);
}

TEST_CASE("a new schema applies to what was stored before it") {
  custom_world w;
  w.define(crd_text(R"({"type":"object","x-kubernetes-preserve-unknown-fields":true})"));
  w.must(w.post(things, thing("a", R"({"color":"red","gone":1})")), 201);
  auto crd = w.must(w.get(fmt::format("{}/things.ex.io", crds)), 200);
  crd.member("spec")
      .find("versions")
      ->array()
      ->at(0)
      .member("schema")
      .set("openAPIV3Schema", *json::parse(color_schema));
  w.must(w.put(fmt::format("{}/things.ex.io", crds), json::write(crd)), 200);
  w.tables.refresh();
  CHECK(spec_of(w.must(w.get(fmt::format("{}/a", things)), 200)) == R"({"color":"red","size":3})");
  CHECK(spec_of(w.must(w.get(things), 200)["items"][0]) == R"({"color":"red","size":3})");
}

TEST_CASE("selectable fields select") {
  custom_world w;
  w.define(crd_text(color_schema, R"(,"selectableFields":[{"jsonPath":".spec.color"},{"jsonPath":".spec.size"}])"));
  w.must(w.post(things, thing("a", R"({"color":"red"})")), 201);
  w.must(w.post(things, thing("b", R"({"color":"blue","size":8})")), 201);
  auto check = [&] {
    CHECK(w.must(w.get(fmt::format("{}?fieldSelector=spec.color%3Dred", things)), 200)["items"].size() == 1);
    CHECK(w.must(w.get(fmt::format("{}?fieldSelector=spec.size%3D8", things)), 200)["items"][0]["metadata"]["name"]
              .as_string() == "b");
    // The schema's default is a value too.
    CHECK(w.must(w.get(fmt::format("{}?fieldSelector=spec.size%3D3", things)), 200)["items"][0]["metadata"]["name"]
              .as_string() == "a");
    CHECK(w.must(w.get(fmt::format("{}?fieldSelector=spec.color%3D", things)), 200)["items"].size() == 0);
  };
  check();
  auto indexed = [&] {
    auto all = w.tables.current()->definitions().front()->indexes();
    return all.size() == 2 &&
           std::all_of(all.begin(), all.end(), [&](auto& i) { return w.objects->current().has_index(i.name); });
  };
  while (!indexed()) w.loop.turn(monotonic_clock::now() + std::chrono::milliseconds(5));
  check();
  running_watch watch(w, fmt::format("{}?watch=1&fieldSelector=spec.color%3Dblue", things));
  CHECK(watch.brief() == "ADDED b");
  w.must(w.patch(fmt::format("{}/a", things), R"({"spec":{"color":"blue"}})", merge), 200);
  CHECK(watch.brief() == "ADDED a");
  w.must(w.patch(fmt::format("{}/b", things), R"({"spec":{"color":"red"}})", merge), 200);
  CHECK(watch.brief() == "DELETED b");
  CHECK(w.must(w.get(fmt::format("{}?fieldSelector=spec.other%3D8", things)), 400)["message"].as_string() ==
        "field label not supported: spec.other");
}

TEST_CASE("watches of custom resources") {
  custom_world w;
  w.define(crd_text(color_schema));
  running_watch watch(w, fmt::format("{}?watch=1", things));
  w.must(w.post(things, thing("a", R"({"color":"red"})")), 201);
  auto added = watch.next();
  CHECK(added["type"].as_string() == "ADDED");
  CHECK(added["object"]["kind"].as_string() == "Thing");
  w.must(w.patch(fmt::format("{}/a", things), R"({"spec":{"color":"blue"}})", merge), 200);
  CHECK(watch.brief() == "MODIFIED a");
  w.must(w.remove(fmt::format("{}/a", things)), 200);
  CHECK(watch.brief() == "DELETED a");
}

TEST_CASE("a schema that speaks of deletion ends nothing") {
  custom_world w;
  w.define(crd_text(
      R"({"type":"object","properties":{"spec":{"type":"object","default":{"deletionTimestamp":"never"},"properties":{"deletionTimestamp":{"type":"string"}}}}})"));
  w.must(w.post(things, thing("a", R"({"deletionTimestamp":"now"})")), 201);
  // Nor does it when the definition is stored anew, and the same.
  w.must(w.patch(fmt::format("{}/things.ex.io", crds), R"({"metadata":{"annotations":{"note":"n"}}})", merge), 200);
  w.must(w.post(things, thing("b")), 201);
}

TEST_CASE("a definition that goes takes its resource along") {
  custom_world w;
  CHECK(w.get(things).code == 404);
  w.must(w.post(crds, crd_text(color_schema)), 201);
  CHECK(w.get(things).code == 404);  // not established yet
  w.establish("things.ex.io");
  CHECK(w.get(things).code == 200);
  auto marked = w.must(w.remove(fmt::format("{}/things.ex.io", crds)), 200);
  CHECK(marked["metadata"]["finalizers"][0].as_string() == "customresourcecleanup.apiextensions.k8s.io");
  CHECK(marked["status"]["conditions"][1]["type"].as_string() == "Terminating");
  w.tables.refresh();
  auto refused = w.must(w.post(things, thing("late")), 403);
  CHECK(refused["message"].as_string().find("create not allowed while custom resource definition is terminating") !=
        std::string_view::npos);
  CHECK(json::write(w.must(w.get("/apis/ex.io/v1"), 200)["resources"][0]["verbs"]) ==
        R"(["delete","deletecollection","get","list","watch"])");
  w.must(w.patch(fmt::format("{}/things.ex.io", crds), R"({"metadata":{"finalizers":null}})", merge), 200);
  w.tables.refresh();
  CHECK(w.get(things).code == 404);
  CHECK(w.get("/apis/ex.io").code == 404);
}

TEST_CASE("definitions that may not be") {
  custom_world w;
  auto crd = [](std::string_view from, std::string_view to) {
    auto text = crd_text(R"({"type":"object"})");
    auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
  };
  struct row {
    std::string body;
    const char* message;
  };
  const row rows[] = {
      {crd(R"("name":"things.ex.io")", R"("name":"x.ex.io")"),
       R"(metadata.name: Invalid value: "x.ex.io": must be spec.names.plural+"."+spec.group)"},
      {crd(R"("scope":"Namespaced")", R"("scope":"Galaxy")"),
       R"(spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced")"},
      {crd(R"("storage":true)", R"("storage":false)"), "must have exactly one version marked as storage version"},
      {crd(R"(,"schema":{"openAPIV3Schema":{"type":"object"}})", ""),
       "spec.versions[0].schema.openAPIV3Schema: Required value"},
      {crd(R"({"type":"object"})", R"({"type":"object","properties":{"a":{}}})"),
       "spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object "
       "fields"},
      {crd(R"("kind":"Thing")", R"("kind":"ThingList")"), ""},
  };
  for (auto& r : rows) {
    CAPTURE(r.message);
    auto answer = w.post(crds, r.body);
    if (!*r.message) {
      CHECK(answer.code == 201);
      continue;
    }
    auto v = w.must(answer, 422);
    CHECK_MESSAGE(v["message"].as_string().find(r.message) != std::string_view::npos, v["message"].as_string());
  }
}

TEST_CASE("a version that was stored stays in the definition until it is no longer said to be") {
  custom_world w;
  const auto path = fmt::format("{}/things.ex.io", crds);
  auto versions = [](std::string_view first, std::string_view second) {
    auto one = [](std::string_view name, bool stores) {
      return fmt::format(
          R"({{"name":"{}","served":true,"storage":{},"schema":{{"openAPIV3Schema":{{"type":"object"}}}}}})", name,
          stores);
    };
    return fmt::format(R"({{"spec":{{"versions":[{}{}]}}}})", first.empty() ? "" : one(first, false) + ",",
                       one(second, true));
  };
  w.must(w.post(crds, crd_text(R"({"type":"object"})")), 201);
  CHECK(json::write(w.must(w.patch(path, versions("v1", "v2"), merge), 200)["status"]["storedVersions"]) ==
        R"(["v1","v2"])");
  CHECK(
      w.must(w.patch(path, versions("", "v2"), merge), 422)["message"].as_string() ==
      R"(CustomResourceDefinition.apiextensions.k8s.io "things.ex.io" is invalid: status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; )"
      R"(v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions)");
  constexpr std::string_view migrated = R"({"status":{"storedVersions":["v2"]}})";
  CHECK(json::write(w.must(w.patch(path, migrated, merge), 200)["status"]["storedVersions"]) == R"(["v1","v2"])");
  CHECK(json::write(w.must(w.patch(path + "/status", migrated, merge), 200)["status"]["storedVersions"]) ==
        R"(["v2"])");
  w.must(w.patch(path, versions("", "v2"), merge), 200);
}

}  // namespace kedge::api
