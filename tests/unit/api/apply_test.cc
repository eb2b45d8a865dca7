// Server-side apply and who owns what, through the handler.
#include "api/write/limits.h"
#include "harness.h"
#include "schema/protobuf.h"

namespace kedge::api {
namespace {

constexpr std::string_view apply_type = "application/apply-patch+yaml";
constexpr std::string_view one = "/api/v1/namespaces/default/configmaps/a";

std::string with_data(std::string_view members) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{{}}}}})", members);
}

answer_text apply(api_world& w, std::string_view manager, std::string_view body, std::string_view more = {},
                  std::string_view target = one) {
  return w.patch(fmt::format("{}?fieldManager={}{}", target, manager, more), body, apply_type);
}

// "manager operation fields", an entry a line; "/subresource" behind the operation.
std::string owners(const json::value& object) {
  std::string out;
  auto& all = object["metadata"]["managedFields"];
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto& e = all[i];
    CHECK(e["fieldsType"].as_string() == "FieldsV1");
    auto sub = e["subresource"].as_string();
    out += fmt::format("{} {}{}{} {}\n", e["manager"].as_string(), e["operation"].as_string(), sub.empty() ? "" : "/",
                       sub, json::write(e["fieldsV1"]));
  }
  return out;
}

}  // namespace

TEST_CASE("an apply creates, shares, conflicts, forces and removes") {
  api_world w;
  auto made = w.must(apply(w, "m1", with_data(R"("k":"1","l":"1")")), 201);
  CHECK(owners(made) == R"(m1 Apply {"f:data":{"f:k":{},"f:l":{}}})"
                        "\n");
  CHECK(made["metadata"]["managedFields"][0]["time"].is_string());

  // The same again is no change.
  auto again = w.must(apply(w, "m1", with_data(R"("k":"1","l":"1")")), 200);
  CHECK(again == made);

  // Another one with the same value shares it; with another it is refused.
  auto shared = w.must(apply(w, "m2", with_data(R"("k":"1")")), 200);
  CHECK(owners(shared).find(R"(m2 Apply {"f:data":{"f:k":{}}})") != std::string::npos);
  auto refused = w.must(apply(w, "m3", with_data(R"("k":"3")")), 409);
  CHECK(refused["reason"].as_string() == "Conflict");
  CHECK(refused["message"].as_string() ==
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.k\nconflicts with \"m2\":\n- .data.k");
  CHECK(
      json::write(refused["details"]) ==
      R"({"causes":[{"reason":"FieldManagerConflict","message":"conflict with \"m1\"","field":".data.k"},{"reason":"FieldManagerConflict","message":"conflict with \"m2\"","field":".data.k"}]})");
  CHECK(w.get(one).json()["data"]["k"].as_string() == "1");

  auto forced = w.must(apply(w, "m3", with_data(R"("k":"3")"), "&force=true"), 200);
  CHECK(forced["data"]["k"].as_string() == "3");
  CHECK(owners(forced).find("m2") == std::string::npos);  // it has nothing left

  // What the applier names no more goes, unless another one has it.
  auto less = w.must(apply(w, "m1", with_data("")), 200);
  CHECK(json::write(less["data"]) == R"({"k":"3"})");
  auto alone = w.must(apply(w, "m4", with_data(R"("k":"3")")), 200);
  auto kept = w.must(apply(w, "m3", with_data("")), 200);
  CHECK(json::write(kept["data"]) == R"({"k":"3"})");

  auto dry = w.must(apply(w, "m5", with_data(R"("x":"y")"), "&dryRun=All"), 200);
  CHECK(dry["data"]["x"].as_string() == "y");
  CHECK(w.get(one).json()["data"]["x"].is_null());
  CHECK(w.must(apply(w, "m5", with_data(R"("x":"y")"), "&dryRun=All", "/api/v1/namespaces/default/configmaps/a"),
               200)["metadata"]["uid"]
            .is_string());
}

TEST_CASE("what an apply must be") {
  api_world w;
  struct row {
    const char *query, *body, *type, *message;
    int code;
  };
  const row rows[] = {
      {"", "{}", "application/apply-patch+yaml",
       R"(PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch)", 422},
      {"?force=true", "{}", "application/merge-patch+json",
       R"(PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch)", 422},
      {"?fieldManager=m", "{}", "application/apply-patch+cbor", "415: Unsupported Media Type", 415},
      {"?fieldManager=m", "{}", "application/apply-patch+yaml", "invalid object type: /, Kind=", 400},
      {"?fieldManager=m", R"({"apiVersion":"v1","kind":"Secret"})", "application/apply-patch+yaml",
       "invalid object type: /v1, Kind=Secret", 400},
      {"?fieldManager=m", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","managedFields":[]}})",
       "application/apply-patch+yaml", "metadata.managedFields must be nil", 400},
      {"?fieldManager=m", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}})",
       "application/apply-patch+yaml", "the name of the object (b) does not match the name on the URL (a)", 400},
      {"?fieldManager=m", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"zzz":1})",
       "application/apply-patch+yaml",
       "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .zzz: field not declared in schema", 500},
  };
  for (auto& r : rows) {
    CAPTURE(r.query);
    CAPTURE(r.body);
    auto a = w.must(w.patch(fmt::format("{}{}", one, r.query), r.body, r.type), r.code);
    CHECK(a["message"].as_string() == r.message);
  }
  CHECK(w.get(one).code == 404);
  // YAML, as the type says.
  CHECK(apply(w, "m", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: 'yes'\n").code == 201);
  // Who may patch but not create.
  w.may.denied_verb = "create";
  CHECK(apply(w, "m", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}})", {},
              "/api/v1/namespaces/default/configmaps/b")
            .code == 403);
}

TEST_CASE("every write is tracked, by the client's name") {
  api_world w;
  auto made = w.must(w.post("/api/v1/namespaces/default/configmaps", config_map("a", "1", R"({"x":"y"})"),
                            {{"User-Agent", "kubectl/v1.32 (linux/amd64)"}}),
                     201);
  CHECK(owners(made) == R"(kubectl Update {"f:data":{".":{},"f:k":{}},"f:metadata":{"f:labels":{".":{},"f:x":{}}}})"
                        "\n");
  CHECK(made["metadata"]["managedFields"][0]["apiVersion"].as_string() == "v1");

  // Who changes a field takes it.
  auto put = made;
  put.member("data").set("k", "2");
  auto changed = w.must(w.ask("PUT", fmt::format("{}?fieldManager=other", one), json::write(put)), 200);
  CHECK(owners(changed) == R"(kubectl Update {"f:data":{},"f:metadata":{"f:labels":{".":{},"f:x":{}}}})"
                           "\n"
                           R"(other Update {"f:data":{"f:k":{}}})"
                           "\n");
  // A write of the same is no change, whoever sends it.
  CHECK(w.must(w.ask("PUT", fmt::format("{}?fieldManager=third", one), json::write(changed)), 200) == changed);
  // What is removed, nobody owns.
  auto removed = w.must(w.patch(fmt::format("{}?fieldManager=third", one), R"({"data":null})", merge), 200);
  CHECK(owners(removed) == R"(kubectl Update {"f:metadata":{"f:labels":{".":{},"f:x":{}}}})"
                           "\n");

  // Without a name: unknown.
  auto nobody = w.must(w.post("/api/v1/namespaces/default/configmaps", config_map("b")), 201);
  CHECK(owners(nobody).starts_with("unknown Update "));

  // Status is another part, and its owner another entry.
  w.must(w.post("/api/v1/nodes", R"({"metadata":{"name":"n"},"spec":{"podCIDR":"10.0.0.0/24"},"status":{"phase":"x"}})",
                {{"User-Agent", "agent/1"}}),
         201);
  auto node = w.must(w.patch("/api/v1/nodes/n/status?fieldManager=agent",
                             R"({"status":{"conditions":[{"type":"Ready","status":"True"}]}})", strategic),
                     200);
  CHECK(
      owners(node).find(
          R"(agent Update/status {"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Ready\"}":{".":{},"f:lastHeartbeatTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}}}})") !=
      std::string::npos);
}

TEST_CASE("managedFields can be set, reset, and not broken") {
  api_world w;
  auto made = w.must(w.post("/api/v1/namespaces/default/configmaps?fieldManager=m", config_map("a")), 201);
  auto broken = made;
  broken.member("metadata")
      .set("managedFields",
           json::array{json::object{
               {"manager", "x"}, {"operation", "Dance"}, {"apiVersion", "v1"}, {"fieldsType", "FieldsV1"}}});
  CHECK(w.must(w.put(one, json::write(broken)), 200) == made);

  auto named = w.must(w.patch(one, R"([{"op":"replace","path":"/metadata/managedFields/0/manager","value":"n"}])",
                              "application/json-patch+json"),
                      200);
  CHECK(owners(named).starts_with("n Update "));

  for (auto none : {"[]", "[{}]"}) {
    CAPTURE(none);
    w.must(w.remove(one), 200);
    w.must(w.post("/api/v1/namespaces/default/configmaps?fieldManager=m", config_map("a")), 201);
    auto reset = w.must(w.patch(one, fmt::format(R"({{"metadata":{{"managedFields":{}}}}})", none), merge), 200);
    CHECK(reset["metadata"]["managedFields"].is_null());
    // Untracked it stays, until it is applied.
    auto later = w.must(w.patch(one, R"({"data":{"l":"1"}})", merge), 200);
    CHECK(later["metadata"]["managedFields"].is_null());
    auto refused = w.must(apply(w, "m2", with_data(R"("k":"9")")), 409);
    CHECK(refused["message"].as_string() ==
          R"(Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.k)");
  }
}

TEST_CASE("lists are merged by their keys, in the applier's order") {
  api_world w;
  auto deployment = [](std::string_view containers) {
    return fmt::format(
        R"({{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d"}},"spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},)"
        R"("template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"containers":[{}]}}}}}}}})",
        containers);
  };
  constexpr std::string_view target = "/apis/apps/v1/namespaces/default/deployments/d";
  auto names = [](const json::value& d) {
    std::string out;
    auto& all = d["spec"]["template"]["spec"]["containers"];
    for (std::size_t i = 0; i < all.size(); ++i)
      out += fmt::format("{}={} ", all[i]["name"].as_string(), all[i]["image"].as_string());
    return out;
  };
  auto made = w.must(
      apply(w, "m1", deployment(R"({"name":"a","image":"1"},{"name":"b","image":"1","ports":[{"containerPort":80}]})"),
            {}, target),
      201);
  CHECK(names(made) == "a=1 b=1 ");
  CHECK(made["spec"]["template"]["spec"]["containers"][1]["ports"][0]["protocol"].as_string() == "TCP");
  CHECK(owners(made).find(R"("k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}})") !=
        std::string::npos);

  auto both =
      w.must(apply(w, "m2", deployment(R"({"name":"c","image":"2"},{"name":"a","image":"1"})"), {}, target), 200);
  CHECK(names(both) == "c=2 a=1 b=1 ");
  auto gone = w.must(apply(w, "m1", deployment(R"({"name":"b","image":"3"})"), {}, target), 200);
  CHECK(names(gone) == "c=2 a=1 b=3 ");  // "a" is m2's too

  // Scaling is by the subresource; the applier never named replicas.
  auto scaled =
      w.must(w.patch(fmt::format("{}/scale?fieldManager=hpa", target), R"({"spec":{"replicas":4}})", merge), 200);
  CHECK(scaled["spec"]["replicas"].as_integer() == 4);
  auto now = w.get(target).json();
  CHECK(owners(now).find(R"(hpa Update/scale {"f:spec":{"f:replicas":{}}})") != std::string::npos);
  auto refused = w.must(
      apply(w, "m1", R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":1}})",
            {}, target),
      409);
  CHECK(refused["message"].as_string() ==
        R"(Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas)");

  // A Scale can be applied as well.
  auto apply_scale = [&](std::string_view manager, int replicas, std::string_view more = {}) {
    return apply(
        w, manager,
        fmt::format(
            R"({{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{{"name":"d"}},"spec":{{"replicas":{}}}}})",
            replicas),
        more, fmt::format("{}/scale", target));
  };
  CHECK(w.must(apply_scale("s", 6), 409)["message"].as_string() ==
        R"(Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas)");
  auto six = w.must(apply_scale("s", 6, "&force=true"), 200);
  CHECK(six["kind"].as_string() == "Scale");
  CHECK(six["spec"]["replicas"].as_integer() == 6);
  CHECK(owners(w.get(target).json()).find(R"(s Apply/scale {"f:spec":{"f:replicas":{}}})") != std::string::npos);
  CHECK(w.patch(fmt::format("{}/scale?force=true", target), "{}", merge).code == 422);
}

TEST_CASE("at most ten updaters are told apart") {
  api_world w;
  w.must(w.post("/api/v1/namespaces/default/configmaps?fieldManager=m0", config_map("a")), 201);
  json::value last;
  for (int i = 1; i < 14; ++i)
    last = w.must(
        w.patch(fmt::format("{}?fieldManager=m{}", one, i), fmt::format(R"({{"data":{{"k{}":"v"}}}})", i), merge), 200);
  CHECK(last["metadata"]["managedFields"].size() == 10);
  auto text = owners(last);
  CHECK(text.find("ancient-changes Update ") != std::string::npos);
  for (int i = 1; i < 14; ++i) CHECK(text.find(fmt::format(R"("f:k{}":{{}})", i)) != std::string::npos);
}

TEST_CASE("kubectl takes over what it applied on the client's side") {
  api_world w;
  auto body = [](std::string_view value) {
    auto last = with_data(fmt::format(R"("k":"{}")", value));
    auto v = *json::parse(last);
    v.member("metadata").set("annotations", json::object{{"kubectl.kubernetes.io/last-applied-configuration", last}});
    return json::write(v);
  };
  w.must(w.post("/api/v1/namespaces/default/configmaps?fieldManager=kubectl-client-side-apply", body("1")), 201);
  CHECK(w.must(apply(w, "someone", with_data(R"("k":"2")")), 409)["message"].as_string() ==
        R"(Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.k)");
  auto taken = w.must(apply(w, "kubectl", with_data(R"("k":"2")")), 200);
  CHECK(taken["data"]["k"].as_string() == "2");
  auto note = taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_string();
  CHECK(note == R"({"apiVersion":"v1","data":{"k":"2"},"kind":"ConfigMap","metadata":{"name":"a"}})"
                "\n");
}

// What is large is worked on in turns, in part on another thread (storage::take_turn): nothing of that is to be seen.
TEST_CASE("a large object is written as a small one") {
  for (int n : {10, 20'000}) {
    CAPTURE(n);
    api_world w;
    auto text = [&](std::string_view changed, std::string_view more = {}) {
      std::string data;
      for (int i = 0; i < n; ++i)
        data += fmt::format("{}\"k{:06}\":\"{}\"", i ? "," : "", i, i == 3 ? changed : "value");
      return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{{}}}{}}})", data,
                         more);
    };
    CHECK((text("x").size() > large_bytes) == (n > 10));
    auto owned_by = [&](const json::value& o, std::string_view manager) {
      std::size_t keys = 0;
      for (auto& entry : *o["metadata"]["managedFields"].array()) {
        if (entry["manager"].as_string() != manager) continue;
        auto fields = json::write(entry["fieldsV1"]);
        for (auto at = fields.find("\"f:k0"); at != std::string::npos; at = fields.find("\"f:k0", at + 1)) ++keys;
      }
      return keys;
    };
    constexpr std::string_view maps = "/api/v1/namespaces/default/configmaps";
    const auto large = fmt::format("{}/a", maps);
    auto made =
        w.post(fmt::format("{}?fieldManager=first&fieldValidation=Warn", maps), text("value", R"(,"unknown":1)"));
    CHECK(made.headers.get("Warning").find("unknown field") != std::string_view::npos);
    CHECK(owned_by(w.must(made, 201), "first") == std::size_t(n));
    CHECK(w.must(w.post(maps, text("value")), 409)["reason"].as_string() == "AlreadyExists");
    auto put = w.must(w.put(large + "?fieldManager=second", text("other")), 200);
    CHECK(put["data"]["k000003"].as_string() == "other");
    CHECK(owned_by(put, "first") == std::size_t(n) - 1);
    CHECK(owned_by(put, "second") == 1);
    auto patched = w.must(w.patch(large + "?fieldManager=third", R"({"data":{"k000004":"third","k000005":null}})",
                                  "application/merge-patch+json"),
                          200);
    CHECK(patched["data"].object()->size() == std::size_t(n) - 1);
    CHECK(owned_by(patched, "first") == std::size_t(n) - 3);
    CHECK(owned_by(patched, "third") == 1);
    auto conflict = w.must(w.patch(large + "?fieldManager=fourth", text("mine"), "application/apply-patch+yaml"), 409);
    CHECK(conflict["details"]["causes"].size() == 2);
    auto applied =
        w.must(w.patch(large + "?fieldManager=fourth&force=true", text("mine"), "application/apply-patch+yaml"), 200);
    CHECK(owned_by(applied, "fourth") == std::size_t(n));
    CHECK(w.must(w.put(large, R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}})"), 400)["reason"]
              .as_string() == "BadRequest");
    constexpr auto in_steps = "application/json-patch+json";
    auto stepped =
        w.must(w.patch(large, R"([{"op":"replace","path":"/data/k000006","value":"sixth"}])", in_steps), 200);
    CHECK(stepped["data"]["k000006"].as_string() == "sixth");
    CHECK(w.patch(large, R"([{"op":"test","path":"/data/k000006","value":"no"}])", in_steps).code == 422);
    CHECK(w.patch(large, R"({"data":{"not a key":""}})", strategic).code == 422);
    CHECK(w.patch(large, R"({"metadata":{"uid":"another"}})", strategic).code == 422);
    auto warned = w.patch(large + "?fieldValidation=Warn", R"({"data":{"k000007":"seventh"},"unknown":1})", strategic);
    CHECK(warned.headers.get("Warning").find("unknown field") != std::string_view::npos);
    auto version = w.must(warned, 200)["metadata"]["resourceVersion"];
    auto unchanged = w.must(w.patch(large, R"({"data":{"k000007":"seventh"}})", strategic), 200);
    CHECK(unchanged["metadata"]["resourceVersion"] == version);
    auto tried = w.must(w.put(large + "?dryRun=All", text("tried")), 200);
    CHECK(tried["data"]["k000003"].as_string() == "tried");
    CHECK(w.must(w.get(large), 200)["metadata"]["resourceVersion"] == version);
    CHECK(w.patch(large, R"({"metadata":{"resourceVersion":"1"},"data":{"k000008":"late"}})", strategic).code == 409);
    // In other forms.
    auto row = w.must(w.get(large, {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}}), 200)["rows"][0];
    CHECK(row["cells"][1].as_integer() == n);
    auto proto = schema::decode_object(w.get(large, {{"Accept", "application/vnd.kubernetes.protobuf"}}).body);
    REQUIRE(proto.has_value());
    CHECK((*proto)["data"]["k000007"].as_string() == "seventh");
    CHECK(w.must(w.remove(large), 200)["status"].as_string() == "Success");
    auto created = w.must(w.patch(large + "?fieldManager=fifth", text("new"), "application/apply-patch+yaml"), 201);
    CHECK(owned_by(created, "fifth") == std::size_t(n));
  }
}

}  // namespace kedge::api
