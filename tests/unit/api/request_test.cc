// The grammar of URLs, queries, selectors, Accept headers and continue tokens.
#include <doctest/doctest.h>

#include "api/read/continue_token.h"
#include "api/request/negotiate.h"
#include "api/request/request.h"
#include "json/parse.h"
#include "meta/cron.h"
#include "meta/selector.h"
#include "meta/time_zones.h"

namespace kedge::api {

TEST_CASE("a path and method say what is asked for") {
  struct row {
    const char *method, *path, *query, *verb, *group, *version, *ns, *resource, *name, *sub;
    bool resource_request;
  };
  const row rows[] = {
      {"GET", "/api/v1/pods", "", "list", "", "v1", "", "pods", "", "", true},
      {"GET", "/api/v1/pods/", "", "list", "", "v1", "", "pods", "", "", true},
      {"GET", "/api/v1/pods", "watch=1", "watch", "", "v1", "", "pods", "", "", true},
      {"GET", "/api/v1/pods", "watch=false", "list", "", "v1", "", "pods", "", "", true},
      {"GET", "/api/v1/namespaces/a/pods/b", "watch=true", "get", "", "v1", "a", "pods", "b", "", true},
      {"GET", "/api/v1/namespaces/a", "", "get", "", "v1", "a", "namespaces", "a", "", true},
      {"PUT", "/api/v1/namespaces/a/finalize", "", "update", "", "v1", "a", "namespaces", "a", "finalize", true},
      {"PATCH", "/apis/apps/v1/namespaces/a/deployments/d/status", "", "patch", "apps", "v1", "a", "deployments", "d",
       "status", true},
      {"DELETE", "/api/v1/namespaces/a/pods", "", "deletecollection", "", "v1", "a", "pods", "", "", true},
      {"DELETE", "/api/v1/namespaces/a/pods/b", "", "delete", "", "v1", "a", "pods", "b", "", true},
      {"POST", "/api/v1/namespaces/a/pods/b/binding", "", "create", "", "v1", "a", "pods", "b", "binding", true},
      {"GET", "/api/v1/watch/namespaces/a/pods/b", "", "watch", "", "v1", "a", "pods", "b", "", true},
      {"GET", "/api/v1/namespaces/a/pods", "fieldSelector=metadata.name%3Db", "list", "", "v1", "a", "pods", "b", "",
       true},
      // Decoded before it is cut, as Go's servers do.
      {"GET", "/api/v1/namespaces/a/pods/b%2F", "", "get", "", "v1", "a", "pods", "b", "", true},
      {"GET", "/api/v1/namespaces%2fa/pods%2Fb/log", "", "get", "", "v1", "a", "pods", "b", "log", true},
      {"GET", "/%61pi/v1/pods", "", "list", "", "v1", "", "pods", "", "", true},
      {"GET", "/version", "", "get", "", "", "", "", "", "", false},
      {"GET", "/apis/apps/v1", "", "get", "", "", "", "", "", "", false},
  };
  for (auto& r : rows) {
    CAPTURE(r.path);
    auto info = parse_request(r.method, r.path, query_values::parse(r.query));
    CHECK(info.is_resource == r.resource_request);
    CHECK(info.verb == r.verb);
    CHECK(info.api_group == r.group);
    CHECK(info.api_version == r.version);
    CHECK(info.ns == r.ns);
    CHECK(info.resource == r.resource);
    CHECK(info.name == r.name);
    CHECK(info.subresource == r.sub);
    CHECK_FALSE(info.malformed);
  }
  for (auto path : {"/api//v1/pods", "/api/v1/pods//", "/api/v1/namespaces//pods/a/proxy", "/api/v1%2f/pods", "//",
                    "/api/v1/pods/%", "/api/v1/pods/%4", "/%zz"})
    CHECK_MESSAGE(parse_request("GET", path, {}).malformed, path);
  CHECK(parse_request("OPTIONS", "/api/v1/pods", {}).bad_method);
  for (auto& [path, deeper] : {std::pair{"/api/v1/namespaces/a/pods/b/log", false},
                               {"/api/v1/namespaces/a/pods/b/log/c", true},
                               {"/apis/g/v1/things/b/sub%2Fc", true},
                               {"/api/v1/namespaces/a/pods/b/proxy/c/d", false}})
    CHECK_MESSAGE(parse_request("GET", path, {}).deeper == deeper, path);
}

TEST_CASE("what is asked of a proxy's target is what follows, as received") {
  for (auto& [path, rest] : {std::pair{"/api/v1/nodes/edge-1/proxy", ""},
                             {"/api/v1/nodes/edge-1/proxy/", "/"},
                             {"/api/v1/nodes/edge-1/proxy/logs/a%2fb/", "/logs/a%2fb/"},
                             {"/api/v1/nodes/edge-1/proxy%2Flogs%2Fx", "/logs%2Fx"},
                             {"/api/v1/nodes%2Fedge-1/proxy/logs//x", "/logs//x"},
                             {"/api/v1/namespaces/default/pods/web/proxy/proxy/x", "/proxy/x"},
                             {"/api/v1/namespaces/default/services/https:web:443/proxy", ""}}) {
    CAPTURE(path);
    auto info = parse_request("GET", path, {});
    CHECK_FALSE(info.malformed);
    CHECK(info.subresource == "proxy");
    CHECK(info.rest == rest);
  }
}

TEST_CASE("numbers of the query fail with Go's words") {
  std::int64_t n = 0;
  CHECK(parse_go_int("abc", n) == R"(strconv.ParseInt: parsing "abc": invalid syntax)");
  CHECK(parse_go_int("99999999999999999999", n) ==
        R"(strconv.ParseInt: parsing "99999999999999999999": value out of range)");
  CHECK_FALSE(parse_go_int("+7", n));
  CHECK(n == 7);
}

TEST_CASE("list options that may not stand together are refused") {
  const char* bad[] = {"resourceVersionMatch=Exact", "resourceVersionMatch=Nope&resourceVersion=1",
                       "resourceVersionMatch=Exact&resourceVersion=0", "sendInitialEvents=true",
                       "resourceVersionMatch=NotOlderThan&continue=abc&resourceVersion=1"};
  for (auto q : bad) {
    CAPTURE(q);
    auto o = parse_list_options(query_values::parse(q), false);
    REQUIRE_FALSE(o.has_value());
    CHECK(o.error().code == 422);
  }
  CHECK_FALSE(parse_list_options(query_values::parse("sendInitialEvents=true"), true));
  CHECK_FALSE(parse_list_options(query_values::parse("resourceVersionMatch=NotOlderThan"), true));
  CHECK(parse_list_options(query_values::parse("sendInitialEvents=true&resourceVersionMatch=NotOlderThan"), true)
            .has_value());
  CHECK(parse_list_options(query_values::parse("limit=x"), false).error().code == 400);
}

TEST_CASE("label selectors select") {
  struct row {
    const char *selector, *labels;
    bool matches;
  };
  const row rows[] = {{"a=b", R"({"a":"b"})", true},
                      {"a==b", R"({"a":"c"})", false},
                      {"a!=b", R"({})", true},
                      {"a in (b,c)", R"({"a":"c"})", true},
                      {"a notin (b)", R"({})", true},
                      {"a", R"({"a":""})", true},
                      {"!a", R"({"a":""})", false},
                      {"a>5", R"({"a":"6"})", true},
                      {"a<5", R"({"a":"6"})", false},
                      {"a=b,c=d", R"({"a":"b","c":"d"})", true},
                      {"a=b, c", R"({"a":"b"})", false},
                      {"a=", R"({"a":""})", true},
                      {"a in (,b)", R"({"a":""})", true},
                      {"x.y/z=1", R"({"x.y/z":"1"})", true},
                      {"in=in", R"({"in":"in"})", true}};
  for (auto& r : rows) {
    CAPTURE(r.selector);
    auto s = label_selector::parse(r.selector);
    REQUIRE(s.has_value());
    CHECK(s->matches_text(r.labels) == r.matches);
    CHECK(s->matches(*json::parse(r.labels)) == r.matches);
  }
  CHECK(label_selector::parse("=b").error().message == "found '=', expected: !, identifier, or 'end of string'");
  for (auto bad : {"a b", "a in b", "a in (", "a,", "a>b", "-a", "a=b c"}) {
    CAPTURE(bad);
    CHECK_FALSE(label_selector::parse(bad).has_value());
  }
}

TEST_CASE("field selectors unescape") {
  auto s = field_selector::parse(R"(metadata.name=a\,b,spec.x!=c\\d)");
  REQUIRE(s.has_value());
  CHECK(s->exact("metadata.name") == "a,b");
  CHECK(s->requirements()[1].value == "c\\d");
  CHECK_FALSE(s->requirements()[1].equal);
  CHECK_FALSE(field_selector::parse("abc").has_value());
}

TEST_CASE("Accept picks the first form that can be had") {
  struct row {
    const char* accept;
    wire format;
    shape as;
  };
  const row rows[] = {{"", wire::json, shape::whole},
                      {"*/*", wire::json, shape::whole},
                      {"application/vnd.kubernetes.protobuf,application/json", wire::protobuf, shape::whole},
                      {"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", wire::json, shape::table},
                      {"application/json;as=Table;v=v9;g=meta.k8s.io,application/json", wire::json, shape::whole},
                      {"text/html,application/yaml;q=0.5,application/json;q=0.4", wire::yaml, shape::whole}};
  for (auto& r : rows) {
    CAPTURE(r.accept);
    auto m = negotiate(r.accept, {});
    REQUIRE(m.has_value());
    CHECK(m->format == r.format);
    CHECK(m->as == r.as);
  }
  CHECK(negotiate("text/html", {}).error().code == 406);
  CHECK(negotiate("application/yaml", {.stream = true}).error().code == 406);
}

TEST_CASE("continue tokens come back as they were") {
  auto token = write_continue({218, std::string("c1\0", 3)});
  auto p = read_continue(token);
  REQUIRE(p.has_value());
  CHECK(p->revision == 218);
  CHECK(p->start == std::string("c1\0", 3));
  for (auto bad : {"!!", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0"})
    CHECK(read_continue(bad).error().code == 400);
}

TEST_CASE("schedules") {
  for (auto good : {"*/5 * * * *", "0 0 1 jan mon-fri", "@hourly", "@every 1h30m", "1,2,3 4-6 ? * 0"}) {
    CAPTURE(good);
    CHECK(cron_problem(good) == "");
  }
  CHECK(cron_problem("* * * *") == "expected exactly 5 fields, found 4: [* * * *]");
  CHECK(cron_problem("61 * * * *") == "end of range (61) above maximum (59): 61");
  CHECK(cron_problem("@often") == "unrecognized descriptor: @often");
}

}  // namespace kedge::api

TEST_CASE("cron: when a schedule comes") {
  auto after = [](std::string_view schedule, std::string_view from, std::string_view zone = "") {
    auto read = kedge::api::cron_schedule::parse(schedule, kedge::api::find_time_zone(zone));
    REQUIRE(read.has_value());
    auto t = read->next(*kedge::parse_rfc3339(from));
    return t ? kedge::format_rfc3339(*t) : std::string("never");
  };
  CHECK(after("* * * * *", "2026-01-01T12:00:00Z") == "2026-01-01T12:01:00Z");
  CHECK(after("*/15 * * * *", "2026-01-01T12:00:01Z") == "2026-01-01T12:15:00Z");
  CHECK(after("0 0 1 1 *", "2026-01-01T00:00:00Z") == "2027-01-01T00:00:00Z");
  CHECK(after("@monthly", "2026-01-31T12:00:00Z") == "2026-02-01T00:00:00Z");
  CHECK(after("30 4 * * sun", "2026-01-01T00:00:00Z") == "2026-01-04T04:30:00Z");
  // Both days are given: either will do. A star with one: both must.
  CHECK(after("0 0 13 * 5", "2026-01-01T00:00:00Z") == "2026-01-02T00:00:00Z");
  CHECK(after("0 0 13 * *", "2026-01-01T00:00:00Z") == "2026-01-13T00:00:00Z");
  CHECK(after("0 0 29 2 *", "2026-01-01T00:00:00Z") == "2028-02-29T00:00:00Z");
  CHECK(after("0 0 31 2 *", "2026-01-01T00:00:00Z") == "never");
  CHECK(after(", * * * *", "2026-01-01T00:00:00Z") == "never");
  CHECK(after("@every 90s", "2026-01-01T00:00:00Z") == "2026-01-01T00:01:30Z");
  CHECK(after("0 12 * * *", "2026-07-01T00:00:00Z", "UTC") == "2026-07-01T12:00:00Z");
  CHECK(kedge::api::find_time_zone("../../etc/passwd") == nullptr);
  CHECK(kedge::api::find_time_zone("Europe/Nowhere") == nullptr);
}

TEST_CASE("cron: a zone's clock, also where it jumps") {
  if (!kedge::api::find_time_zone("Europe/Paris")) {
    MESSAGE("no zoneinfo here");
    return;
  }
  auto after = [](std::string_view schedule, std::string_view from) {
    auto t = kedge::api::cron_schedule::parse(schedule, kedge::api::find_time_zone("Europe/Paris"))
                 ->next(*kedge::parse_rfc3339(from));
    return t ? kedge::format_rfc3339(*t) : std::string("never");
  };
  CHECK(after("0 12 * * *", "2026-07-01T00:00:00Z") == "2026-07-01T10:00:00Z");
  CHECK(after("0 12 * * *", "2026-01-01T00:00:00Z") == "2026-01-01T11:00:00Z");
  // 2:30 isn't there on 29 March.
  CHECK(after("30 2 * * *", "2026-03-28T12:00:00Z") == "2026-03-30T00:30:00Z");
  // Each hour, through the night that has two of one.
  CHECK(after("0 * * * *", "2026-10-25T00:00:00Z") == "2026-10-25T01:00:00Z");
  CHECK(after("0 * * * *", "2026-10-25T01:00:00Z") == "2026-10-25T02:00:00Z");
}
