// What lists and watches with selectors find, and that large lists are the same as small ones.
#include <algorithm>
#include <memory>

#include "api/read/limits.h"
#include "harness.h"
#include "schema/protobuf.h"
#include "schema/types.h"

namespace kedge::api {
namespace {

using names = std::vector<std::string>;

void put(api_world& w, std::string key, std::string value) {
  auto done = w.loop.run_until(w.objects->write({store::write_kind::create, std::move(key), std::move(value)}));
  REQUIRE_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
}

std::string pod(int i) {
  auto node = i % 7 == 0 ? std::string() : fmt::format(R"("nodeName":"n{}",)", i % 5);
  auto host = i % 3 == 0 ? R"("hostNetwork":true,)" : "";
  return fmt::format(
      R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"p{}","namespace":"s{}","labels":{{"even":"{}"}},"annotations":{{"x":"\"nodeName\":\"n1\""}}}},"spec":{{"containers":[{{"name":"c","image":"i"}}],{}{}"restartPolicy":"Always"}},"status":{{"phase":"{}"}}}})",
      i / 3, i % 3, i % 2 == 0, host, node, i % 2 ? "Running" : "Pending");
}

// As "ns/name", in the order of the answer, over all pages of `limit`.
names listed(api_world& w, std::string_view path, std::string_view query, int limit) {
  names out;
  std::string token;
  do {
    auto page = w.must(
        w.get(fmt::format("{}?{}&limit={}{}", path, query, limit, token.empty() ? "" : "&continue=" + token)), 200);
    for (std::size_t i = 0; i < page["items"].size(); ++i) {
      auto& m = page["items"][i]["metadata"];
      out.push_back(fmt::format("{}/{}", m["namespace"].as_string(), m["name"].as_string()));
    }
    token = page["metadata"]["continue"].as_string();
  } while (!token.empty());
  return out;
}

std::string text_at(const json::value& v, std::string_view path, std::string_view otherwise) {
  auto at = &v;
  while (!path.empty()) {
    at = &(*at)[path.substr(0, path.find('.'))];
    path.remove_prefix(std::min(path.size(), path.find('.') == path.npos ? path.size() : path.find('.') + 1));
  }
  if (at->is_bool()) return at->as_bool() ? "true" : "false";
  return at->is_null() ? std::string(otherwise) : std::string(at->as_string());
}

}  // namespace

TEST_CASE("a field selector finds what a look at every object finds") {
  api_world w;
  for (int i = 0; i < 90; ++i) put(w, fmt::format("/registry/pods/s{}/p{}", i % 3, i / 3), pod(i));
  auto all = w.must(w.get("/api/v1/pods"), 200)["items"];
  struct field {
    const char *name, *path, *otherwise;
    std::vector<const char*> values;
  };
  const field fields[] = {{"spec.nodeName", "spec.nodeName", "", {"n1", "n4", "", "none"}},
                          {"spec.host", "spec.nodeName", "", {"n2"}},
                          {"status.phase", "status.phase", "", {"Running", "Failed", ""}},
                          {"spec.hostNetwork", "spec.hostNetwork", "false", {"true", "false"}},
                          {"metadata.name", "metadata.name", "", {"p1", "p10", "p", "", "s1/p1"}},
                          {"metadata.namespace", "metadata.namespace", "", {"s0", "s", ""}}};
  struct condition {
    const field* f;
    const char* value;
    bool equal;
    std::string text() const { return fmt::format("{}{}{}", f->name, equal ? "%3D" : "%21%3D", value); }
    bool holds(const json::value& v) const { return (text_at(v, f->path, f->otherwise) == value) == equal; }
  };
  std::vector<condition> conditions;
  for (auto& f : fields)
    for (auto value : f.values)
      for (bool equal : {true, false}) conditions.push_back({&f, value, equal});
  auto check = [&](std::string_view ns, const condition& a, const condition* b, bool label) {
    names wanted;
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto& m = all[i]["metadata"];
      bool fits = (ns.empty() || m["namespace"].as_string() == ns) && a.holds(all[i]) && (!b || b->holds(all[i])) &&
                  (!label || m["labels"]["even"].as_string() == "true");
      if (fits) wanted.push_back(fmt::format("{}/{}", m["namespace"].as_string(), m["name"].as_string()));
    }
    auto path = ns.empty() ? std::string("/api/v1/pods") : fmt::format("/api/v1/namespaces/{}/pods", ns);
    auto query = fmt::format("fieldSelector={}{}{}", a.text(), b ? "%2C" + b->text() : "",
                             label ? "&labelSelector=even%3Dtrue" : "");
    CAPTURE(path);
    CAPTURE(query);
    CHECK(listed(w, path, query, 0) == wanted);
    CHECK(listed(w, path, query, 4) == wanted);
  };
  for (auto ns : {"", "s1", "nowhere"})
    for (auto& a : conditions) check(ns, a, nullptr, false);
  for (std::size_t i = 0; i < conditions.size(); ++i)
    check(i % 2 ? "" : "s1", conditions[i], &conditions[(i * 7 + 3) % conditions.size()], i % 3 == 0);
}

TEST_CASE("events are found by what they are about, in both groups") {
  api_world w;
  for (int i = 0; i < 12; ++i)
    put(w, fmt::format("/registry/events/d/e{:02}", i),
        fmt::format(
            R"({{"kind":"Event","apiVersion":"v1","metadata":{{"name":"e{0:02}","namespace":"d"}},"involvedObject":{{"kind":"Pod","name":"p{1}","uid":"u{1}"}},"reason":"R","reportingComponent":"{2}","source":{{{3}}},"type":"Normal"}})",
            i, i % 3, i % 2 ? "me" : "", i % 4 ? R"("component":"it")" : ""));
  CHECK(listed(w, "/api/v1/namespaces/d/events", "fieldSelector=involvedObject.uid%3Du1", 2) ==
        names{"d/e01", "d/e04", "d/e07", "d/e10"});
  CHECK(listed(w, "/apis/events.k8s.io/v1/events", "fieldSelector=regarding.uid%3Du1%2Cregarding.name%3Dp1", 0) ==
        names{"d/e01", "d/e04", "d/e07", "d/e10"});
  CHECK(listed(w, "/apis/events.k8s.io/v1/events", "fieldSelector=reportingController%3Dme%2Cregarding.kind%3DPod", 0)
            .size() == 6);
  CHECK(listed(w, "/api/v1/events", "fieldSelector=source%3Dit", 0).size() == 9);
  CHECK(listed(w, "/api/v1/events", "fieldSelector=source%3Dme", 0).size() == 0);
  CHECK(listed(w, "/api/v1/events", "fieldSelector=source%3D", 0).size() == 3);
  CHECK(w.get("/api/v1/events?fieldSelector=nope%3D1").code == 400);
}

TEST_CASE("the rest of a page is counted") {
  api_world w;
  for (int i = 0; i < 100; ++i)
    put(w, fmt::format("/registry/configmaps/{}/c{:02}", i % 2 ? "a" : "b", i), config_map(fmt::format("c{:02}", i)));
  auto page = w.must(w.get("/api/v1/configmaps?limit=1"), 200);
  CHECK(page["metadata"]["remainingItemCount"].as_integer() == 99);
  page = w.must(w.get(fmt::format("/api/v1/configmaps?limit=70&continue={}", page["metadata"]["continue"].as_string())),
                200);
  CHECK(page["metadata"]["remainingItemCount"].as_integer() == 29);
  page = w.must(w.get("/api/v1/namespaces/a/configmaps?limit=49"), 200);
  CHECK(page["metadata"]["remainingItemCount"].as_integer() == 1);
  page = w.must(w.get("/api/v1/namespaces/a/configmaps?limit=50"), 200);
  CHECK(page["metadata"]["continue"].is_null());
  CHECK(page["metadata"]["remainingItemCount"].is_null());
}

TEST_CASE("a list is the same in every form, whole or in pieces") {
  for (int items : {0, 1, 3, 40}) {
    api_world w;
    CAPTURE(items);
    // 40 of them make several pieces.
    for (int i = 0; i < items; ++i)
      put(w, fmt::format("/registry/configmaps/default/c{:02}", i),
          config_map(fmt::format("c{:02}", i), std::string(items > 3 ? 90'000 : 5, 'x'), R"({"a":"b: c\n- d"})"));
    constexpr std::string_view path = "/api/v1/configmaps";
    auto plain = w.get(path);
    auto whole = plain.json();
    CHECK(whole["items"].size() == static_cast<std::size_t>(items));
    CHECK(plain.body == json::write(whole) + "\n");
    CHECK(w.get(fmt::format("{}?pretty=true", path)).body == json::write_indented(whole, 2) + "\n");
    CHECK(w.get(path, {{"Accept", "application/yaml"}}).body == json::write_yaml(whole));
    auto proto = schema::decode_object(w.get(path, {{"Accept", "application/vnd.kubernetes.protobuf"}}).body);
    REQUIRE(proto.has_value());
    CHECK((*proto)["metadata"] == whole["metadata"]);
    CHECK((*proto)["items"].size() == static_cast<std::size_t>(items));
    if (items) CHECK((*proto)["items"] == whole["items"]);
    for (std::string_view version : {"v1", "v1beta1"}) {
      auto metadata_only = fmt::format("as=PartialObjectMetadataList;v={};g=meta.k8s.io", version);
      auto partial = w.must(w.get(path, {{"Accept", "application/json;" + metadata_only}}), 200);
      CHECK(partial["apiVersion"].as_string() == fmt::format("meta.k8s.io/{}", version));
      CHECK(partial["items"].size() == static_cast<std::size_t>(items));
      for (std::size_t i = 0; i < partial["items"].size(); ++i) {
        CHECK(partial["items"][i]["metadata"] == whole["items"][i]["metadata"]);
        CHECK(partial["items"][i]["kind"].as_string() == "PartialObjectMetadata");
      }
      auto encoded =
          schema::decode_object(w.get(path, {{"Accept", "application/vnd.kubernetes.protobuf;" + metadata_only}}).body,
                                schema::find_type("meta/v1.PartialObjectMetadataList"));
      REQUIRE(encoded.has_value());
      CHECK((*encoded)["kind"].as_string() == "PartialObjectMetadataList");
      CHECK((*encoded)["metadata"] == whole["metadata"]);
      CHECK((*encoded)["items"].size() == static_cast<std::size_t>(items));
      if (items) CHECK((*encoded)["items"][0]["metadata"] == whole["items"][0]["metadata"]);
    }
    auto table = w.get(fmt::format("{}?includeObject=Object", path),
                       {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}})
                     .json();
    CHECK(table["rows"].size() == static_cast<std::size_t>(items));
    CHECK(table["columnDefinitions"].size() == 3);
    for (std::size_t i = 0; i < table["rows"].size(); ++i)
      CHECK(table["rows"][i]["object"]["data"] == whole["items"][i]["data"]);
    for (auto accept : {"application/json", "application/yaml", "application/json;as=Table;v=v1;g=meta.k8s.io"}) {
      auto packed = w.get(path, {{"Accept", accept}, {"Accept-Encoding", "gzip"}});
      CHECK((packed.headers.get("Content-Encoding") == "gzip") == (items == 40 && packed.body.starts_with("\x1f\x8b")));
    }
    CHECK((w.get(path, {{"Accept-Encoding", "gzip"}}).headers.get("Content-Encoding") == "gzip") == (items == 40));
  }
}

TEST_CASE("a list in protobuf is the same, however many others wait for clients that take nothing") {
  api_world w;
  constexpr std::string_view maps = "/api/v1/namespaces/default/configmaps";
  constexpr std::size_t size = 900'000;
  constexpr std::size_t count = 9;
  for (std::size_t i = 0; i < count; ++i)
    w.must(w.post(maps, config_map(fmt::format("large-{}", i), std::string(size, static_cast<char>('a' + i)))), 201);
  const header_list protobuf{{"Accept", "application/vnd.kubernetes.protobuf"}};
  const auto alone = w.get(maps, protobuf);
  REQUIRE(schema::decode_object(alone.body)->object()->find("items")->size() == count);
  // So many that there is room for some items of the last one, and for none of others.
  constexpr std::size_t waiting = lists_encoded_ahead_bytes / (count * size) + 2;
  std::vector<std::unique_ptr<memory_exchange>> silent;
  reactor::scope answering;
  for (std::size_t i = 0; i < waiting; ++i) {
    auto& e = *silent.emplace_back(std::make_unique<memory_exchange>());
    e.silent = true;
    api_world::fill(e, "GET", maps, {}, protobuf);
    answering.spawn(w.handler->serve(e));
  }
  for (auto& e : silent)
    while (!e->started()) w.loop.turn(monotonic_clock::now() + std::chrono::milliseconds(5));
  CHECK(w.get(maps, protobuf).body == alone.body);
  // One goes: there is room for some again.
  silent.front()->abort();
  CHECK(w.get(maps, protobuf).body == alone.body);
  answering.cancel();
  CHECK(w.get(maps, protobuf).body == alone.body);
}

TEST_CASE("a watch with a selector ends an object as it was selected last") {
  api_world w;
  put(w, "/registry/pods/d/a",
      R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"d","labels":{"x":"1"}},"spec":{"nodeName":"n1","containers":[]},"status":{"phase":"Pending"}})");
  auto update = [&](std::string_view labels, std::string_view phase) {
    auto before = w.objects->current().find("/registry/pods/d/a");
    auto done = w.loop.run_until(w.objects->write(
        {store::write_kind::update, "/registry/pods/d/a",
         fmt::format(
             R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"a","namespace":"d","labels":{}}},"spec":{{"nodeName":"n1","containers":[]}},"status":{{"phase":"{}"}}}})",
             labels, phase),
         before->mod()}));
    REQUIRE(done.has_value());
    return std::to_string(done->at);
  };
  running_watch labelled(w, "/api/v1/pods?watch=1&labelSelector=x%3D1");
  running_watch pending(w, "/api/v1/namespaces/d/pods?watch=1&fieldSelector=status.phase%3DPending");
  running_watch table(w, "/api/v1/pods?watch=1&labelSelector=x%3D1",
                      {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}});
  running_watch node(w, "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1");
  running_watch name(w, "/api/v1/namespaces/d/pods?watch=1&fieldSelector=metadata.name%3Da");
  running_watch others(w, "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn2");
  for (auto* v : {&labelled, &pending, &node, &name}) CHECK(v->brief() == "ADDED a");
  table.next();
  auto at = update(R"({"x":"2"})", "Running");
  for (auto* v : {&labelled, &pending}) {
    auto event = v->next();
    CHECK(event["type"].as_string() == "DELETED");
    CHECK(event["object"]["metadata"]["labels"]["x"].as_string() == "1");
    CHECK(event["object"]["status"]["phase"].as_string() == "Pending");
    CHECK(event["object"]["metadata"]["resourceVersion"].as_string() == at);
  }
  auto row = table.next()["object"];
  CHECK(row["metadata"]["resourceVersion"].as_string() == at);
  CHECK(row["rows"][0]["object"]["metadata"]["labels"]["x"].as_string() == "1");
  for (auto* v : {&node, &name}) CHECK(v->brief() == "MODIFIED a");
  at = update(R"({"x":"1"})", "Running");
  CHECK(labelled.brief() == "ADDED a");
  CHECK(pending.quiet());
  auto gone = w.loop.run_until(w.objects->write({store::write_kind::remove, "/registry/pods/d/a", {}, 0}));
  REQUIRE(gone.has_value());
  for (auto* v : {&node, &name}) {
    CHECK(v->brief() == "MODIFIED a");
    auto event = v->next();
    CHECK(event["type"].as_string() == "DELETED");
    CHECK(event["object"]["metadata"]["resourceVersion"].as_string() == std::to_string(gone->at));
  }
  CHECK(others.quiet());
}

}  // namespace kedge::api
