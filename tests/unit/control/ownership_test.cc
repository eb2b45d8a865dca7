// garbage-collector-controller: what an owner is worth, and what follows from it.
#include "control/cleanup/ownership.h"

#include <algorithm>
#include <map>

#include "at_work.h"
#include "control/cleanup/other_owners.h"
#include "control/owners.h"
#include "json/parse.h"
#include "json/patch.h"
#include "json/write.h"

using namespace kedge;
using namespace kedge::control;

namespace {

json::value map(std::string_view name, std::string_view owners = "[]", std::string_view ns = "default") {
  return yaml(
      fmt::format("{{kind: ConfigMap, apiVersion: v1, metadata: {{name: {}, namespace: {}, ownerReferences: {}}}}}",
                  name, ns, owners));
}

}  // namespace

TEST_CASE("garbage-collector-controller: worth of an owner") {
  cluster c;
  c.put(map("owner"));
  c.put(
      "{kind: ConfigMap, apiVersion: v1, metadata: {name: waits, namespace: default, deletionTimestamp: "
      "'2026-01-01T00:00:00Z', finalizers: [foregroundDeletion]}}");
  c.put(
      "{kind: ConfigMap, apiVersion: v1, metadata: {name: ends, namespace: default, deletionTimestamp: "
      "'2026-01-01T00:00:00Z', finalizers: [mine]}}");
  c.put(map("foreign", "[]", "other"));
  c.put("{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: role}}");
  auto cluster = c.now();
  struct row {
    std::string_view reference;
    owner_worth in_namespace, cluster_scoped;
  };
  using enum owner_worth;
  const row rows[] = {
      {"{apiVersion: v1, kind: ConfigMap, name: owner, uid: uid-owner}", solid, misplaced},
      {"{apiVersion: v1, kind: ConfigMap, name: waits, uid: uid-waits}", waiting, misplaced},
      {"{apiVersion: v1, kind: ConfigMap, name: ends, uid: uid-ends}", solid, misplaced},
      {"{apiVersion: v1, kind: ConfigMap, name: owner, uid: another}", absent, misplaced},
      {"{apiVersion: v1, kind: ConfigMap, name: foreign, uid: uid-foreign}", absent, misplaced},
      {"{apiVersion: v1, kind: Secret, name: owner, uid: uid-owner}", absent, misplaced},
      {"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, name: role, uid: uid-role}", solid, solid},
      {"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, name: role, uid: uid-x}", absent, absent},
      {"{apiVersion: example.org/v1, kind: Thing, name: owner, uid: uid-owner}", unknown, unknown},
      {"{apiVersion: v2, kind: ConfigMap, name: owner, uid: uid-owner}", unknown, unknown},
  };
  auto role = yaml("{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: dep}}");
  for (auto& r : rows) {
    CAPTURE(r.reference);
    CHECK(worth_of(cluster, map("dep"), yaml(r.reference)) == r.in_namespace);
    CHECK(worth_of(cluster, role, yaml(r.reference)) == r.cluster_scoped);
    // The short way from the texts says no less.
    auto with = map("dep", "[" + std::string(r.reference) + "]");
    kedge::control::cluster d = c;
    d.put(with);
    CHECK(owners_are_solid(d.now(), *d.now().cluster().find("/registry/configmaps/default/dep")) ==
          (r.in_namespace == solid));
  }
}

TEST_CASE("garbage-collector-controller: what becomes of an object") {
  const std::string there = "{apiVersion: v1, kind: ConfigMap, name: owner, uid: uid-owner}",
                    gone = "{apiVersion: v1, kind: ConfigMap, name: gone, uid: uid-gone}",
                    unserved = "{apiVersion: example.org/v1, kind: Thing, name: x, uid: uid-x}";
  struct row {
    std::string owners;
    std::string wanted;
  };
  for (auto& r : {row{there, "stays with 1"}, row{gone, "goes"}, row{there + ", " + gone, "stays with 1"},
                  row{gone + ", " + unserved, "stays with 2"}, row{unserved, "stays with 1"}}) {
    CAPTURE(r.owners);
    at_work w("garbagecollector");
    w.put(map("owner"));
    w.put(map("dep", "[" + r.owners + "]"));
    w.put(map("free"));
    CHECK(w.named() == text{"/registry/configmaps/default/dep"});
    (void)w.work("/registry/configmaps/default/dep");
    auto left = w.get("/registry/configmaps/default/dep");
    CHECK((left.is_null() ? "goes" : fmt::format("stays with {}", left["metadata"]["ownerReferences"].size())) ==
          r.wanted);
  }
}

TEST_CASE(
    "garbage-collector-controller: an owner of another API server is absent when that one says so, and only then") {
  const std::string
      things = R"({"resources":[{"name":"things","namespaced":true,"kind":"Thing","verbs":["get"]}]})",
      none =
          R"({"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","details":{"name":"x"},"code":404})",
      owner = R"({"kind":"Thing","metadata":{"name":"x","uid":"uid-x"}})",
      another = R"({"kind":"Thing","metadata":{"name":"x","uid":"uid-y"}})";
  struct row {
    api::raw_answer discovery, answer;
    std::string wanted;
    std::string name = "x";
  };
  for (auto& r :
       {row{{200, things}, {200, owner}, "stays, asked again"}, row{{200, things}, {404, none}, "goes"},
        row{{200, things}, {200, another}, "goes"}, row{{200, things}, {404, "404 page not found\n"}, "stays"},
        row{{200, things}, {404, json::write(api::no_such_resource().to_json())}, "stays"},
        row{{200, things}, {503, none}, "stays"}, row{{200, things}, {200, "{}"}, "stays"},
        row{{200, things}, {0, ""}, "stays"}, row{{503, "away\n"}, {404, none}, "stays"},
        row{{404, "404 page not found\n"}, {404, none}, "stays"},
        row{{200, R"({"resources":[]})"}, {404, none}, "stays"}, row{{200, things}, {404, none}, "stays", "../../x"}}) {
    CAPTURE(r.discovery.body);
    CAPTURE(r.answer.body);
    at_work w("garbagecollector", {}, [&](api::user_ref, api::raw_request q) -> task<result<api::raw_answer>> {
      CHECK(q.method == "GET");
      if (q.path == "/apis/example.org/v1") co_return r.discovery;
      CHECK(q.path == "/apis/example.org/v1/namespaces/default/things/x");
      if (r.answer.code == 0) co_return fail(errc::timeout, "nobody is there");
      co_return r.answer;
    });
    w.put(
        "{kind: APIService, apiVersion: apiregistration.k8s.io/v1, metadata: {name: v1.example.org}, spec: {group: "
        "example.org, version: v1, groupPriorityMinimum: 1, versionPriority: 1, service: {namespace: a, name: b}}}");
    w.put(map("dep", "[{apiVersion: example.org/v1, kind: Thing, name: '" + r.name + "', uid: uid-x}]"));
    w.named();
    const std::string key = "/registry/configmaps/default/dep";
    const auto said = w.work(key);
    if (w.get(key).is_null())
      CHECK(r.wanted == "goes");
    else
      CHECK(r.wanted == (said.empty() ? "stays, asked again" : "stays"));
  }
}

TEST_CASE("garbage-collector-controller: whose owner went from another API server is told of by the first of them") {
  const std::string
      things = R"({"resources":[{"name":"things","namespaced":true,"kind":"Thing","verbs":["get"]}]})",
      none =
          R"({"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","details":{"name":"x"},"code":404})",
      owner = R"({"kind":"Thing","metadata":{"name":"x","uid":"uid-x"}})";
  bool is_there = true;
  at_work w("garbagecollector", {}, [&](api::user_ref, api::raw_request q) -> task<result<api::raw_answer>> {
    if (q.path == "/apis/example.org/v1") co_return api::raw_answer{200, things};
    co_return is_there ? api::raw_answer{200, owner} : api::raw_answer{404, none};
  });
  w.put(
      "{kind: APIService, apiVersion: apiregistration.k8s.io/v1, metadata: {name: v1.example.org}, spec: {group: "
      "example.org, version: v1, groupPriorityMinimum: 1, versionPriority: 1, service: {namespace: a, name: b}}}");
  const std::string at = "/registry/configmaps/default/";
  for (auto name : {"one", "two"}) w.put(map(name, "[{apiVersion: example.org/v1, kind: Thing, name: x, uid: uid-x}]"));
  w.named();
  for (auto name : {"one", "two"}) CHECK(w.work(at + name) == "");
  CHECK(w.named().empty());
  is_there = false;
  CHECK(w.work(at + "one") == "");
  CHECK(w.get(at + "one").is_null());
  const auto named = w.named();
  REQUIRE(std::ranges::find(named, at + "two") != named.end());
  CHECK(w.work(at + "two") == "");
  CHECK(w.get(at + "two").is_null());
}

namespace {

// An API server behind this one that has things.
struct thing_server {
  std::map<std::string, json::value> things;  // by name, in the namespace default
  std::vector<std::string> done;              // "DELETE a Background", "PATCH a"
  bool dead = false;

  void put(const std::string& name, std::string_view owners, std::string_view more = "") {
    things[name] = yaml(fmt::format(
        "{{apiVersion: example.org/v1, kind: Thing, metadata: {{name: {0}, namespace: default, uid: uid-{0}, "
        "resourceVersion: '7', ownerReferences: {1}{2}}}, spec: {{}}}}",
        name, owners, more));
  }
  static api::raw_answer value(const json::value& v) { return {200, json::write(v)}; }
  api::raw_answer answer(const api::raw_request& q) {
    const std::string root = "/apis/example.org/v1", one = root + "/namespaces/default/things/";
    if (q.path == root)
      return {
          200,
          R"({"groupVersion":"example.org/v1","resources":[{"name":"things","namespaced":true,"kind":"Thing","verbs":["get","list","delete","patch"]},{"name":"things/status","kind":"Thing","verbs":["get"]},{"name":"readings","kind":"Reading","verbs":["get","list"]}]})"};
    if (q.path.starts_with(root + "/things?limit=")) {
      CHECK(q.accept.find("as=PartialObjectMetadataList") != std::string::npos);
      // One a page.
      const auto at = q.path.find("continue=");
      auto from = at == q.path.npos ? things.begin() : things.find(q.path.substr(at + 9));
      json::array items;
      json::object metadata;
      if (from != things.end()) {
        items.push_back(from->second);
        if (++from != things.end()) metadata.set("continue", from->first);
      }
      return value(json::object{{"kind", "PartialObjectMetadataList"}, {"metadata", metadata}, {"items", items}});
    }
    REQUIRE_MESSAGE(q.path.starts_with(one), q.path);
    const auto name = q.path.substr(one.size());
    auto it = things.find(name);
    if (it == things.end()) return {404, json::write(api::not_found("example.org", "things", name).to_json())};
    if (q.method == "GET") return value(it->second);
    auto body = *json::parse(q.body);
    const bool deletes = q.method == "DELETE";
    auto& expected = deletes ? body["preconditions"] : body["metadata"];
    CHECK(expected["uid"].as_string() == "uid-" + name);
    CHECK(expected["resourceVersion"].as_string() == "7");
    done.push_back(q.method + " " + name + (deletes ? " " + std::string(body["propagationPolicy"].as_string()) : ""));
    if (deletes) {
      things.erase(it);
      return value(json::object{{"kind", "Status"}, {"status", "Success"}});
    }
    CHECK(q.content_type == "application/merge-patch+json");
    it->second = json::apply_merge_patch(it->second, body);
    return value(it->second);
  }
};

struct with_things {
  thing_server server;
  at_work w{"garbagecollector", {}, [this](api::user_ref, api::raw_request q) -> task<result<api::raw_answer>> {
              if (server.dead) co_return fail(errc::timeout, "nobody is there");
              co_return server.answer(q);
            }};
  with_things() {
    w.put(
        "{kind: APIService, apiVersion: apiregistration.k8s.io/v1, metadata: {name: v1.example.org}, spec: {group: "
        "example.org, version: v1, groupPriorityMinimum: 1, versionPriority: 1, service: {namespace: a, name: b}}, "
        "status: {conditions: [{type: Available, status: 'True'}]}}");
    w.put(map("owner"));
    w.named();
  }
  std::vector<std::string> look() {
    server.done.clear();
    CHECK(w.work("objects of other servers") == "");
    return server.done;
  }
};

const std::string by_owner = "{apiVersion: v1, kind: ConfigMap, name: owner, uid: uid-owner}",
                  by_none = "{apiVersion: v1, kind: ConfigMap, name: none, uid: uid-none}";

}  // namespace

TEST_CASE("garbage-collector-controller: what another API server has goes with its owners") {
  with_things a;
  a.server.put("free", "[]");
  a.server.put("kept", "[" + by_owner + "]");
  a.server.put("half", "[" + by_owner + ", " + by_none + "]");
  a.server.put("lost", "[" + by_none + "]");
  a.server.put("ends", "[" + by_none + "]", ", deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [a.b/c]");
  a.server.put("odd", "[{apiVersion: example.com/v1, kind: Odd, name: x, uid: uid-x}, " + by_none + "]");
  CHECK(a.look() == text{"PATCH half", "DELETE lost Background"});
  CHECK(a.server.things["half"]["metadata"]["ownerReferences"].size() == 1);
  // Its owner goes: whoever has that is looked at.
  a.w.erase("/registry/configmaps/default/owner");
  for (auto& key : a.w.named()) CHECK(a.w.work(key) == "");
  const auto named = a.w.named();
  CHECK(std::ranges::find(named, "objects of other servers") != named.end());
}

TEST_CASE(
    "garbage-collector-controller: an owner waits for what another API server has of it, and is forgotten there") {
  for (bool orphans : {false, true}) {
    CAPTURE(orphans);
    with_things a;
    a.server.put("dep", "[{apiVersion: v1, kind: ConfigMap, name: owner, uid: uid-owner, blockOwnerDeletion: true}]");
    auto going = map("owner");
    going.member("metadata").set("deletionTimestamp", "2026-01-01T00:00:00Z");
    going.member("metadata").set("finalizers", json::array{orphans ? "orphan" : "foregroundDeletion", "a.b/c"});
    a.w.put(going);
    const std::string key = "/registry/configmaps/default/owner";
    CHECK(a.w.work(key) == "");
    if (orphans) {
      CHECK(a.server.done == text{"PATCH dep"});
      CHECK(a.server.things["dep"]["metadata"]["ownerReferences"].is_null());
      CHECK(a.w.get(key)["metadata"]["finalizers"].size() == 1);
    } else {
      CHECK(a.server.done == text{"DELETE dep Background"});
      CHECK(a.w.get(key)["metadata"]["finalizers"].size() == 2);
    }
  }
}

TEST_CASE("garbage-collector-controller: what another API server has in another namespace holds no owner up") {
  for (auto finalizer : {"orphan", "foregroundDeletion"}) {
    CAPTURE(finalizer);
    with_things a;
    a.server.put("far", "[{apiVersion: v1, kind: ConfigMap, name: owner, uid: uid-owner, blockOwnerDeletion: true}]");
    a.server.things["far"].member("metadata").set("namespace", "elsewhere");
    auto going = map("owner");
    going.member("metadata").set("deletionTimestamp", "2026-01-01T00:00:00Z");
    going.member("metadata").set("finalizers", json::array{finalizer, "a.b/c"});
    a.w.put(going);
    const std::string key = "/registry/configmaps/default/owner";
    CHECK(a.w.work(key) == "");
    CHECK(a.server.done.empty());
    CHECK(a.w.get(key)["metadata"]["finalizers"].size() == 1);
  }
}

TEST_CASE("garbage-collector-controller: an API server that is dead holds up nobody whose dependents it hasn't") {
  with_things a;
  a.server.put("dep", "[" + by_owner + "]");
  a.look();
  a.server.dead = true;
  for (auto name : {"owner", "other"}) {
    auto going = map(name);
    going.member("metadata").set("deletionTimestamp", "2026-01-01T00:00:00Z");
    going.member("metadata").set("finalizers", json::array{"orphan", "a.b/c"});
    a.w.put(going);
  }
  // What it hasn't been told would be deleted one day.
  CHECK(a.w.work("/registry/configmaps/default/owner") != "");
  CHECK(a.w.get("/registry/configmaps/default/owner")["metadata"]["finalizers"].size() == 2);
  CHECK(a.w.work("/registry/configmaps/default/other") == "");
  CHECK(a.w.get("/registry/configmaps/default/other")["metadata"]["finalizers"].size() == 1);
}

TEST_CASE("garbage-collector-controller: an API server that hangs holds few who ask") {
  constexpr std::size_t workers = 20;
  std::size_t asked = 0;
  reactor::event speaks;
  at_work w("garbagecollector", {}, [&](api::user_ref, api::raw_request) -> task<result<api::raw_answer>> {
    ++asked;
    co_await speaks.wait();
    co_return fail(errc::timeout, "nobody is there");
  });
  w.put(
      "{kind: APIService, apiVersion: apiregistration.k8s.io/v1, metadata: {name: v1.example.org}, spec: {group: "
      "example.org, version: v1, groupPriorityMinimum: 1, versionPriority: 1, service: {namespace: a, name: b}}}");
  other_owners others;
  w.loop().run_until([&]() -> task<void> {
    reactor::scope all;
    std::size_t told = 0;
    auto ask = [&]() -> task<void> {
      const auto worth = co_await others.worth_of(
          w.frame(), "default", yaml("{apiVersion: example.org/v1, kind: Thing, name: x, uid: uid-x}"));
      CHECK(worth == owner_worth::unknown);
      ++told;
    };
    for (std::size_t round = 1; round <= 2; ++round) {
      speaks.reset();
      for (std::size_t i = 0; i < workers; ++i) all.spawn(ask());
      CHECK(asked == round * other_owners::asks_at_once);
      CHECK(told == round * workers - other_owners::asks_at_once);
      speaks.set();
      co_await all.join();
      CHECK(told == round * workers);
    }
  }());
}

TEST_CASE("garbage-collector-controller: other API servers are asked about any number of dependents at one pace") {
  other_owners others;
  const time_point now{std::chrono::hours(1)};
  const auto first = others.next_look(now);
  CHECK(first >= now + std::chrono::seconds(10));
  auto last = first;
  for (int i = 1; i < 100'000; ++i) last = others.next_look(now);
  CHECK(last - first >= std::chrono::seconds(100'000 / 100 - 1));
  // Nobody waits for those of long ago.
  CHECK(others.next_look(last + std::chrono::hours(1)) == last + std::chrono::hours(1) + (first - now));
}

TEST_CASE("garbage-collector-controller: which changes name what") {
  at_work w("garbagecollector");
  w.put(map("owner"));
  CHECK(w.named().empty());
  auto dep = map("dep", "[{apiVersion: v1, kind: ConfigMap, name: owner, uid: uid-owner}]");
  w.put(dep);
  CHECK(w.named() == text{"/registry/configmaps/default/dep"});
  dep.set("data", yaml("{a: b}"));
  w.put(dep);
  CHECK(w.named().empty());  // nothing about owners
  w.erase("/registry/configmaps/default/owner");
  CHECK(w.named() == text{"owner is gone uid-owner"});
  CHECK(w.work("owner is gone uid-owner") == "");
  CHECK(w.named() == text{"/registry/configmaps/default/dep"});
  w.put(
      "{kind: Event, apiVersion: v1, metadata: {name: e, namespace: default, ownerReferences: [{apiVersion: v1, kind: "
      "ConfigMap, name: gone, uid: x}]}}");
  CHECK(w.named().empty());
}

TEST_CASE("garbage-collector-controller: foreground, orphan, and who blocks whom") {
  at_work w("garbagecollector");
  const std::string key = "/registry/configmaps/default/";
  auto waits = [](std::string_view finalizer) {
    return yaml(
        fmt::format("{{kind: ConfigMap, apiVersion: v1, metadata: {{name: o, namespace: default, deletionTimestamp: "
                    "'2026-01-01T00:00:00Z', finalizers: [{}, a.b/c]}}}}",
                    finalizer));
  };
  w.put(waits("foregroundDeletion"));
  w.put(map("blocks", "[{apiVersion: v1, kind: ConfigMap, name: o, uid: uid-o, blockOwnerDeletion: true}]"));
  w.put(map("follows", "[{apiVersion: v1, kind: ConfigMap, name: o, uid: uid-o}]"));
  w.named();
  CHECK(w.work(key + "o") == "");
  CHECK(w.get(key + "o")["metadata"]["finalizers"].size() == 2);
  CHECK(w.named() == text{key + "blocks", key + "follows"});
  CHECK(w.work(key + "follows") == "");
  CHECK(w.get(key + "follows").is_null());
  CHECK(w.work(key + "blocks") == "");
  CHECK(w.get(key + "blocks").is_null());
  CHECK(w.work(key + "o") == "");
  CHECK(w.get(key + "o")["metadata"]["finalizers"] == yaml("[a.b/c]"));

  w.put(waits("orphan"));
  w.put(map("left",
            "[{apiVersion: v1, kind: ConfigMap, name: o, uid: uid-o}, {apiVersion: v1, kind: ConfigMap, name: p, uid: "
            "uid-p}]"));
  CHECK(w.work(key + "o") == "");
  CHECK(w.get(key + "left")["metadata"]["ownerReferences"] ==
        yaml("[{apiVersion: v1, kind: ConfigMap, name: p, uid: uid-p}]"));
  CHECK(w.get(key + "o")["metadata"]["finalizers"] == yaml("[a.b/c]"));
}
