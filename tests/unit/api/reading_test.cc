// Lists, pages, watches, tables, discovery and the paths that are no resources.
#include "api/bootstrap.h"
#include "harness.h"
#include "schema/protobuf.h"

namespace kedge::api {
namespace {

void add(api_world& w, std::string_view name, std::string_view value = "v", std::string_view labels = "{}") {
  w.must(w.post("/api/v1/namespaces/default/configmaps", config_map(name, value, labels)), 201);
}
constexpr std::string_view maps = "/api/v1/namespaces/default/configmaps";
std::string with(std::string_view query) { return fmt::format("{}?{}", maps, query); }

}  // namespace

TEST_CASE("a list gathers, selects and pages") {
  api_world w;
  auto empty = w.must(w.get(maps), 200);
  CHECK(empty["kind"].as_string() == "ConfigMapList");
  CHECK(empty["items"].is_array());
  for (auto name : {"a", "b", "c", "d", "e"}) add(w, name, "v", name[0] < 'c' ? R"({"x":"1"})" : "{}");
  auto all = w.must(w.get(maps), 200);
  CHECK(all["items"].size() == 5);
  CHECK(all["items"][0]["metadata"]["name"].as_string() == "a");
  CHECK(all["items"][0]["kind"].is_null());
  CHECK_FALSE(all["metadata"]["resourceVersion"].as_string().empty());
  CHECK(w.must(w.get(with("labelSelector=x%3D1")), 200)["items"].size() == 2);
  CHECK(w.must(w.get(with("fieldSelector=metadata.name%3Dc")), 200)["items"].size() == 1);
  auto first = w.must(w.get(with("limit=2")), 200);
  CHECK(first["items"].size() == 2);
  CHECK(first["metadata"]["remainingItemCount"].as_integer() == 3);
  add(w, "bb");  // after the first page: not in the second
  auto second = w.must(w.get(with(fmt::format("limit=2&continue={}", first["metadata"]["continue"].as_string()))), 200);
  CHECK(second["items"][0]["metadata"]["name"].as_string() == "c");
  CHECK(second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]);
  auto third = w.must(w.get(with(fmt::format("limit=2&continue={}", second["metadata"]["continue"].as_string()))), 200);
  CHECK(third["items"].size() == 1);
  CHECK(third["metadata"]["continue"].is_null());
  CHECK(w.get(with("continue=garbage")).code == 400);
  auto future = w.must(w.get(with("resourceVersion=1000000")), 504);
  CHECK(future["details"]["causes"][0]["reason"].as_string() == "ResourceVersionTooLarge");
}

TEST_CASE("forms of an answer: Table, metadata only, protobuf, pretty") {
  api_world w;
  add(w, "a");
  auto table = w.must(w.get(maps, {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}}), 200);
  CHECK(table["kind"].as_string() == "Table");
  CHECK(table["columnDefinitions"][0]["name"].as_string() == "Name");
  CHECK(table["rows"][0]["cells"][0].as_string() == "a");
  CHECK(table["rows"][0]["cells"][1].as_integer() == 1);
  CHECK(table["rows"][0]["object"]["kind"].as_string() == "PartialObjectMetadata");
  CHECK(w.get(with("includeObject=Nope"), {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}}).code == 400);
  auto partial =
      w.must(w.get(maps, {{"Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}}), 200);
  CHECK(partial["items"][0]["kind"].as_string() == "PartialObjectMetadata");
  CHECK(partial["items"][0]["data"].is_null());
  CHECK(w.get(maps, {{"Accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}}).code == 406);
  auto proto = w.get(fmt::format("{}/a", maps), {{"Accept", "application/vnd.kubernetes.protobuf"}});
  auto object = schema::decode_object(proto.body);
  REQUIRE(object.has_value());
  CHECK((*object)["data"]["k"].as_string() == "v");
  auto list = schema::decode_object(w.get(maps, {{"Accept", "application/vnd.kubernetes.protobuf"}}).body);
  REQUIRE(list.has_value());
  CHECK((*list)["items"].size() == 1);
  auto lost = schema::decode_object(
      w.get(fmt::format("{}/nope", maps), {{"Accept", "application/vnd.kubernetes.protobuf"}}).body);
  REQUIRE(lost.has_value());
  CHECK((*lost)["reason"].as_string() == "NotFound");
  CHECK(w.get(fmt::format("{}/a", maps), {{"User-Agent", "curl/8"}}).body.starts_with("{\n  \"kind\""));
  CHECK(w.get(maps, {{"Accept", "text/html"}}).code == 406);
}

TEST_CASE("a protobuf body creates") {
  api_world w;
  auto v = json::parse(config_map("pb"));
  auto body = schema::encode_object(*v);
  REQUIRE(body.has_value());
  CHECK(w.post(maps, *body, {{"Content-Type", "application/vnd.kubernetes.protobuf"}}).code == 201);
  CHECK(w.get(fmt::format("{}/pb", maps)).code == 200);
}

TEST_CASE("large answers are compressed for who takes it") {
  api_world w;
  for (int i = 0; i < 3; ++i) add(w, fmt::format("big{}", i), std::string(60'000, 'x'));
  auto a = w.get(maps, {{"Accept-Encoding", "gzip"}});
  CHECK(a.headers.get("Content-Encoding") == "gzip");
  CHECK(a.body.size() < 10'000);
  CHECK(a.body.starts_with("\x1f\x8b"));
  CHECK(w.get(maps).headers.get("Content-Encoding") == "");
}

TEST_CASE("a watch tells what exists and what happens") {
  api_world w;
  add(w, "a");
  running_watch all(w, with("watch=1"));
  CHECK(all.brief() == "ADDED a");
  add(w, "b", "v", R"({"x":"1"})");
  CHECK(all.brief() == "ADDED b");
  running_watch selected(w, with("watch=1&labelSelector=x%3D1"));
  CHECK(selected.brief() == "ADDED b");
  w.must(w.patch(fmt::format("{}/b", maps), R"({"metadata":{"labels":{"x":null}}})", merge), 200);
  CHECK(all.brief() == "MODIFIED b");
  CHECK(selected.brief() == "DELETED b");
  w.must(w.patch(fmt::format("{}/a", maps), R"({"metadata":{"labels":{"x":"1"}}})", merge), 200);
  CHECK(selected.brief() == "ADDED a");
  CHECK(all.brief() == "MODIFIED a");
  auto last = w.must(w.get(maps), 200)["metadata"]["resourceVersion"];
  running_watch later(w, with(fmt::format("watch=1&resourceVersion={}", last.as_string())));
  CHECK(later.quiet());
  CHECK(w.remove(fmt::format("{}/a", maps)).code == 200);
  auto gone = later.next();
  CHECK(gone["type"].as_string() == "DELETED");
  CHECK(std::stoull(std::string(gone["object"]["metadata"]["resourceVersion"].as_string())) >
        std::stoull(std::string(last.as_string())));
}

TEST_CASE("a streaming list ends with its bookmark") {
  api_world w;
  add(w, "a");
  running_watch s(w, with("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"));
  CHECK(s.brief() == "ADDED a");
  auto mark = s.next();
  CHECK(mark["type"].as_string() == "BOOKMARK");
  CHECK(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"].as_string() == "true");
  running_watch plain(w, with("watch=1&resourceVersion=0&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"));
  CHECK(plain.quiet());
  CHECK(w.get(with("watch=1&sendInitialEvents=true")).code == 422);
}

TEST_CASE("a watch in Table form sends its columns once, in protobuf its frames with lengths") {
  api_world w;
  add(w, "a");
  running_watch t(w, with("watch=1"), {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}});
  CHECK(t.next()["object"]["columnDefinitions"].size() == 3);
  add(w, "b");
  auto second = t.next();
  CHECK(second["object"]["columnDefinitions"].is_null());
  CHECK(second["object"]["rows"][0]["cells"][0].as_string() == "b");
  running_watch p(w, with("watch=1"), {{"Accept", "application/vnd.kubernetes.protobuf;stream=watch"}});
  CHECK(p.e.head.headers.get("Content-Type") == "application/vnd.kubernetes.protobuf;stream=watch");
  REQUIRE(p.e.answer.size() > 4);
  CHECK(load_be32(as_bytes(p.e.answer).data()) < p.e.answer.size());
}

TEST_CASE("a watch ends in time, cleanly") {
  api_world w;
  running_watch s(w, with("watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=0"));
  auto until = monotonic_clock::now() + std::chrono::milliseconds(1500);
  while (!s.e.finished && monotonic_clock::now() < until) w.loop.turn(until);
  CHECK(s.e.finished);
}

TEST_CASE("discovery, plain and aggregated") {
  api_world w;
  CHECK(w.must(w.get("/api"), 200)["versions"][0].as_string() == "v1");
  auto groups = w.must(w.get("/apis"), 200);
  CHECK(groups["groups"].size() > 15);
  CHECK(groups["groups"][0]["name"].as_string() == "apiregistration.k8s.io");
  CHECK(groups["groups"][groups["groups"].size() - 1]["name"].as_string() == "storagemigration.k8s.io");
  // As kube-apiserver 1.37.2 gives them: of what an object is kept in, which isn't always what is asked for.
  CHECK(w.must(w.get("/apis/events.k8s.io/v1"), 200)["resources"][0]["storageVersionHash"].as_string() ==
        "r2yiGXH7wu8=");
  CHECK(w.must(w.get("/apis/apiextensions.k8s.io/v1"), 200)["resources"][0]["storageVersionHash"].as_string() ==
        "jfWCUB31mvA=");
  CHECK(w.must(w.get("/apis/autoscaling/v1"), 200)["resources"][0]["storageVersionHash"].as_string() == "qwQve8ut294=");
  auto core = w.must(w.get("/api/v1"), 200);
  bool pods = false;
  for (std::size_t i = 0; i < core["resources"].size(); ++i)
    if (core["resources"][i]["name"].as_string() == "pods") {
      pods = true;
      CHECK(core["resources"][i]["shortNames"][0].as_string() == "po");
      CHECK(json::write(core["resources"][i]["verbs"]) ==
            R"(["create","delete","deletecollection","get","list","patch","update","watch"])");
    }
  CHECK(pods);
  CHECK(w.must(w.get("/apis/apps"), 200)["preferredVersion"]["groupVersion"].as_string() == "apps/v1");
  CHECK(w.get("/apis/nope").code == 404);
  auto type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
  auto aggregated = w.get("/apis", {{"Accept", type}});
  CHECK(aggregated.headers.get("Content-Type") == type);
  CHECK(aggregated.json()["items"].size() > 15);
  auto etag = std::string(aggregated.headers.get("Etag"));
  CHECK(etag.size() == 130);
  CHECK(w.get("/apis", {{"Accept", type}, {"If-None-Match", etag}}).code == 304);
}

TEST_CASE("health, version, metrics, OpenAPI") {
  api_world w;
  bool good = true;
  w.checks.add("ping", health_group::all, [] { return result<void>(); });
  w.checks.add("etcd", health_group::readyz, [&]() -> result<void> {
    if (good) return {};
    return fail(errc::unavailable, "secret reason");
  });
  CHECK(w.get("/readyz").body == "ok");
  CHECK(w.get("/readyz?verbose").body == "[+]ping ok\n[+]etcd ok\nreadyz check passed\n");
  CHECK(w.get("/readyz/etcd").body == "ok");
  CHECK(w.get("/livez/etcd").code == 404);
  good = false;
  auto bad = w.get("/readyz");
  CHECK(bad.code == 500);
  CHECK(bad.body == "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n");
  CHECK(w.get("/readyz?exclude=etcd").code == 200);
  auto version = w.must(w.get("/version"), 200);
  CHECK(version["gitVersion"].as_string() == "v1.37.2+kedge1");
  CHECK(version["minor"].as_string() == "37");
  CHECK(version["minCompatibilityMinor"].as_string() == "36");
  auto text = w.get("/metrics").body;
  CHECK(text.find("apiserver_request_total{code=\"200\"") != std::string::npos);
  CHECK(text.find("apiserver_storage_objects{resource=\"configmaps\"} 0\n") != std::string::npos);
  CHECK(text.find("process_resident_memory_bytes") != std::string::npos);
  CHECK(w.must(w.get("/"), 200)["paths"].size() > 40);
}

TEST_CASE("requests are counted by kube-apiserver's verbs and scopes; hostile names stay out of the labels") {
  api_world w;
  w.must(w.post("/api/v1/namespaces/default/configmaps", R"({"metadata":{"name":"a"}})"), 201);
  w.get("/api/v1/namespaces/default/pods/a/x%22%7D%201%0Ay");
  auto text = w.get("/metrics").body;
  CHECK(text.find(R"(resource="configmaps",scope="resource",subresource="",verb="POST",version="v1"} 1)") !=
        std::string::npos);
  CHECK(text.find(R"(resource="pods",scope="resource",subresource="other",verb="GET",version="v1"} 1)") !=
        std::string::npos);
  CHECK(text.find("x\"") == std::string::npos);
}

TEST_CASE("nothing that a client chooses becomes a series, and strangers don't use up the room for others") {
  api_world w;
  auto series = [&] {
    auto text = w.get("/metrics").body;
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find("\napiserver_request_total{", at)) != text.npos; ++at) ++n;
    return n;
  };
  // Everything of a request that may be chosen, by who isn't known, who may nothing, and who may all.
  auto hostile = [&](int i) {
    const auto x = fmt::format("x{}", i);
    w.ask("Q" + x, "/api/v1/pods");
    w.ask("Q" + x, "/" + x);
    w.get("/" + x);
    w.get("/apis/" + x + "/v1/pods");
    w.get("/apis/apps/" + x + "/deployments");
    w.get("/api/v1/" + x);
    w.get("/api/v1/namespaces/" + x + "/pods");
    w.get("/api/v1/namespaces/default/pods/" + x + "/" + x);
    w.get("/api/v1/namespaces/default/pods/a/proxy/" + x);
    w.get("/api/v1/namespaces/default/pods?dryRun=" + x + "&watch=" + x + "&timeoutSeconds=0&fieldManager=" + x,
          {{"User-Agent", x}, {"Content-Type", x}, {"Accept", x}});
    w.patch("/api/v1/namespaces/default/pods/a?fieldManager=" + x, "{}", x);
  };
  for (bool known : {true, false})
    for (auto* denied : {"", "get"}) {
      w.who.known = known;
      w.may.denied_verb = denied;
      hostile(-1);
    }
  w.who.known = true;
  w.may.denied_verb.clear();
  const auto before = series();
  for (int i = 0; i < 50; ++i)
    for (bool known : {true, false})
      for (auto* denied : {"", "get"}) {
        w.who.known = known;
        w.may.denied_verb = denied;
        hostile(i);
      }
  w.who.known = true;
  w.may.denied_verb.clear();
  CHECK(series() <= before + 1);  // that of /metrics itself
  CHECK(before < 40);
  // Refusals say nothing of the resource: a user without rights could walk all of them.
  w.may.denied_verb = "list";
  for (auto& s : builtin_registry().all())
    w.get((s->group.empty() ? "/api/" : "/apis/" + s->group + "/") + s->version + "/" + std::string(s->resource));
  w.may.denied_verb.clear();
  CHECK(series() <= before + 2);
  auto text = w.get("/metrics").body;
  CHECK(
      text.find(
          R"(apiserver_request_total{code="403",component="apiserver",dry_run="",group="",resource="",scope="",subresource="",verb="LIST",version=""})") !=
      std::string::npos);
  CHECK(
      text.find(
          R"(apiserver_request_total{code="401",component="apiserver",dry_run="",group="",resource="",scope="",subresource="",verb="other",version=""})") !=
      std::string::npos);
}

TEST_CASE("requests are still counted when there are more series than one core remembers") {
  metrics all;
  request_metrics m(all, 0);
  std::vector<std::unique_ptr<served>> kinds;
  for (int i = 0; i < 5000; ++i) {
    auto s = std::make_unique<served>();
    s->group = "example.org";
    s->version = "v1";
    s->resource = fmt::format("r{}", i);
    auto info = parse_request("GET", "/apis/example.org/v1/" + s->resource, {});
    m.observe({.info = info, .what = s.get()}, std::chrono::milliseconds(1));
    kinds.push_back(std::move(s));
  }
  auto text = all.text();
  CHECK(text.find(R"(resource="r0",scope="cluster",subresource="",verb="LIST",version="v1"} 1)") != std::string::npos);
  CHECK(
      text.find(
          R"(apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="other",scope="",subresource="",verb="LIST",version=""} 904)") !=
      std::string::npos);
}

TEST_CASE("a fresh cluster has its objects") {
  api_world w;
  bootstrap_options o;
  o.endpoint_addresses = {"10.0.0.2", "10.0.0.1"};
  o.root_ca = "ca";
  o.client_ca = "client";
  auto start = monotonic_clock::now();
  auto done = w.loop.run_until(bootstrap_cluster(*w.client, o));
  REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().message));
  MESSAGE("bootstrap took " << std::chrono::duration<double, std::milli>(monotonic_clock::now() - start).count()
                            << " ms");
  CHECK(w.client->list({"", "v1", "namespaces"}).size() == 4);
  CHECK(w.client->list({"rbac.authorization.k8s.io", "v1", "clusterroles"}).size() == 73);
  auto service = w.must(w.get("/api/v1/namespaces/default/services/kubernetes"), 200);
  CHECK(service["spec"]["clusterIP"].as_string() == "10.43.0.1");
  auto endpoints = w.must(w.get("/api/v1/namespaces/default/endpoints/kubernetes"), 200);
  CHECK(endpoints["subsets"][0]["addresses"][0]["ip"].as_string() == "10.0.0.1");
  auto before = w.objects->current().at();
  REQUIRE(w.loop.run_until(bootstrap_cluster(*w.client, o)).has_value());
  CHECK(w.objects->current().at() == before);  // nothing to do the second time
}

TEST_CASE("a collection is deleted by selector") {
  api_world w;
  add(w, "a", "v", R"({"x":"1"})");
  add(w, "b");
  auto deleted = w.must(w.remove(with("labelSelector=x%3D1")), 200);
  CHECK(deleted["items"].size() == 1);
  CHECK(w.must(w.get(maps), 200)["items"].size() == 1);
}

}  // namespace kedge::api
