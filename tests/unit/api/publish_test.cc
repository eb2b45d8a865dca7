// What a component tells of itself: /statusz, /flagz, /metrics/slis, /metrics. Forms and refusals as
// kube-apiserver 1.37 has them.
#include "harness.h"

namespace kedge::api {
namespace {

struct told_world : api_world {
  told_world() {
    checks.add("ping", health_group::all, [] { return result<void>(); });
    checks.add("late", health_group::readyz, []() -> result<void> { return fail(errc::unavailable, "not yet"); });
    handler = std::make_unique<api_handler>(
        api_parts{.objects = *objects,
                  .who = who,
                  .may = may,
                  .rules = rules,
                  .checks = checks,
                  .measures = measures,
                  .ranges = ranges,
                  .flags = std::make_shared<const flag_values>(flag_values{{"b", "[x,y]"}, {"a", "true"}})});
  }
};

std::string as(std::string_view kind, std::string_view type = "application/json",
               std::string_view version = "v1beta1") {
  return fmt::format("{};v={};g=config.k8s.io;as={}", type, version, kind);
}

}  // namespace

TEST_CASE("/statusz is text for people, and an object for who asks for one") {
  told_world w;
  for (auto accept : {"", "*/*", "text/plain", "text/*"}) {
    auto text = w.get("/statusz", {{"Accept", accept}});
    CHECK(text.code == 200);
    CHECK(text.headers.get("Content-Type") == "text/plain; charset=utf-8");
    CHECK(text.body.starts_with("\napiserver statusz\nWarning: This endpoint is not meant to be machine parseable"));
    CHECK(text.body.find("\nUp: 0 hr 00 min 0") != std::string::npos);
    CHECK(text.body.ends_with("\nPaths: /flagz /healthz /livez /metrics /readyz /statusz /version\n"));
  }
  auto object = w.get("/statusz", {{"Accept", as("Statusz")}});
  CHECK(object.headers.get("Content-Type") == "application/json;g=config.k8s.io;v=v1beta1;as=Statusz");
  auto told = w.must(object, 200);
  CHECK(told["apiVersion"].as_string() == "config.k8s.io/v1beta1");
  CHECK(told["metadata"]["name"].as_string() == "apiserver");
  CHECK(told["uptimeSeconds"].is_integer());
  CHECK(told["binaryVersion"] == told["emulationVersion"]);
  CHECK(told["paths"].size() == 7);
  CHECK(w.get("/statusz", {{"Accept", as("Statusz", "application/yaml", "v1alpha1")}})
            .body.find("apiVersion: config.k8s.io/v1alpha1\n") == 0);
  for (auto& accept : {std::string("application/json"), std::string("application/xml"), as("Flagz"),
                       as("Statusz", "application/cbor"), as("Statusz", "application/json", "v1")}) {
    CAPTURE(accept);
    CHECK(w.must(w.get("/statusz", {{"Accept", accept}}), 406)["message"].as_string() ==
          "only the following media types are accepted: application/json, application/yaml, text/plain");
  }
  // The next clause counts when the first can't be had.
  CHECK(w.get("/statusz", {{"Accept", "application/json, " + as("Statusz")}}).code == 200);
}

TEST_CASE("/flagz tells what the process was started with") {
  told_world w;
  CHECK(w.get("/flagz").body.ends_with("\na:true\nb:[x,y]\n"));
  auto told = w.must(w.get("/flagz", {{"Accept", as("Flagz")}}), 200);
  CHECK(told["flags"]["b"].as_string() == "[x,y]");
  CHECK(w.get("/").body.find("\"/flagz\"") != std::string::npos);
}

TEST_CASE("each health check is a series of /metrics/slis") {
  told_world w;
  auto text = w.get("/metrics/slis").body;
  for (auto line : {"kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1\n",
                    "kubernetes_healthcheck{name=\"ping\",type=\"readyz\"} 1\n",
                    "kubernetes_healthcheck{name=\"late\",type=\"readyz\"} 0\n"})
    CHECK_MESSAGE(text.find(line) != std::string::npos, line);
  CHECK(text.find("name=\"late\",type=\"livez\"") == std::string::npos);
  w.get("/readyz");
  w.get("/readyz?exclude=late");
  text = w.get("/metrics/slis").body;
  for (auto line : {"kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"readyz\"} 2\n",
                    "kubernetes_healthchecks_total{name=\"late\",status=\"error\",type=\"readyz\"} 1\n"})
    CHECK_MESSAGE(text.find(line) != std::string::npos, line);
}

TEST_CASE("what watches are sent is counted by resource, and how long they list") {
  told_world w;
  w.must(w.post("/api/v1/namespaces/default/configmaps", config_map("a")), 201);
  running_watch watch(w,
                      "/api/v1/namespaces/default/configmaps?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&"
                      "resourceVersionMatch=NotOlderThan");
  CHECK(watch.next()["type"].as_string() == "ADDED");
  CHECK(watch.next()["type"].as_string() == "BOOKMARK");
  auto text = w.get("/metrics").body;
  // The object, and the mark behind all there was.
  for (auto line :
       {"apiserver_watch_events_total{group=\"\",resource=\"configmaps\",version=\"v1\"} 2\n",
        "apiserver_watch_events_sizes_count{group=\"\",resource=\"configmaps\",version=\"v1\"} 2\n",
        "apiserver_watch_list_duration_seconds_count{group=\"\",resource=\"configmaps\",scope=\"namespace\","
        "version=\"v1\"} 1\n"})
    CHECK_MESSAGE(text.find(line) != std::string::npos, line);
}

TEST_CASE("/metrics has the series by which an API server is watched") {
  told_world w;
  w.must(w.get("/api/v1/nodes"), 200);
  w.who.known = false;
  CHECK(w.get("/api/v1/nodes").code == 401);
  w.who.known = true;
  running_watch watch(w, "/api/v1/nodes?watch=1");
  auto text = w.get("/metrics").body;
  for (auto line :
       {"authentication_attempts{result=\"failure\"} 1\n", "authentication_attempts{result=\"success\"} 3\n",
        "apiserver_longrunning_requests{component=\"apiserver\",group=\"\",resource=\"nodes\",scope=\"cluster\","
        "subresource=\"\",verb=\"WATCH\",version=\"v1\"} 1\n",
        "apiserver_response_sizes_count{component=\"apiserver\",group=\"\",resource=\"nodes\",scope=\"cluster\","
        "subresource=\"\",verb=\"LIST\",version=\"v1\"} 1\n",
        "kubernetes_build_info{", "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n",
        "apiserver_request_sli_duration_seconds_bucket{component=\"apiserver\",group=\"\",resource=\"nodes\","
        "scope=\"cluster\",subresource=\"\",verb=\"LIST\",version=\"v1\",le=\"0.05\"} 1\n"})
    CHECK_MESSAGE(text.find(line) != std::string::npos, line);
  // What lasts as long as it is wanted tells nothing of how quick the server is.
  CHECK(text.find("apiserver_request_sli_duration_seconds_count{component=\"apiserver\",group=\"\",resource=\"nodes\","
                  "scope=\"cluster\",subresource=\"\",verb=\"WATCH\"") == std::string::npos);
}

}  // namespace kedge::api
