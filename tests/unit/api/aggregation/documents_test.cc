// What other servers say of themselves, merged into what this one says.
#include "api/aggregation/documents.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

#include "api/aggregation/limits.h"
#include "api/aggregation/openapi_v3.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::api::aggregation {
namespace {

json::value value(std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v.has_value(), text);
  return *std::move(v);
}

constexpr std::string_view swagger = R"({"swagger":"2.0","paths":{
  "/apis/x.io/v1/":{"get":{"responses":{"200":{"schema":{"$ref":"#/definitions/io.x.Shared"}}}}},
  "/apis/x.io/v1/things":{"parameters":[{"$ref":"#/parameters/limit"}],
                          "get":{"responses":{"200":{"schema":{"$ref":"#/definitions/io.x.Thing"}}}}},
  "/apis/x.io/v2/things":{"get":{"responses":{"200":{"schema":{"$ref":"#/definitions/io.x.Other"}}}}},
  "/version/":{}},
  "definitions":{"io.x.Thing":{"properties":{"part":{"$ref":"#/definitions/io.x.Part"}}},
    "io.x.Part":{"properties":{"whole":{"$ref":"#/definitions/io.x.Thing"}}},
    "io.x.Shared":{"type":"object"},"io.x.Other":{"type":"object"},"io.x.Unused":{"type":"object"}},
  "parameters":{"limit":{"name":"limit","in":"query"}}})";

documents one(service_documents d) {
  documents out;
  out.emplace("v1.x.io", std::make_shared<const service_documents>(std::move(d)));
  return out;
}

}  // namespace

TEST_CASE("an older server's list of resources reads as aggregated discovery") {
  auto made = resources_of_list(value(R"({"kind":"APIResourceList","resources":[
    {"name":"things/status","namespaced":true,"kind":"Thing","verbs":["get"]},
    {"name":"things","singularName":"thing","namespaced":true,"kind":"Thing","verbs":["list"],"shortNames":["th"],
     "categories":["all"]},
    {"name":"lonely/scale","namespaced":false,"kind":"Scale","group":"autoscaling","version":"v1","verbs":["get"]}]})"));
  CHECK(
      json::write(json::value(made)) ==
      R"([{"resource":"things","responseKind":{"group":"","version":"","kind":"Thing"},"scope":"Namespaced",)"
      R"("singularResource":"thing","verbs":["list"],"shortNames":["th"],"categories":["all"],)"
      R"("subresources":[{"subresource":"status","responseKind":{"group":"","version":"","kind":"Thing"},"verbs":["get"]}]},)"
      R"({"resource":"lonely","responseKind":{"group":"","version":"","kind":""},"scope":"Cluster",)"
      R"("singularResource":"","verbs":[],)"
      R"("subresources":[{"subresource":"scale","responseKind":{"group":"autoscaling","version":"v1","kind":"Scale"},"verbs":["get"]}]}])");
  CHECK(resources_of_list(value("{}")).empty());
}

TEST_CASE("of an aggregated discovery the version's own resources are taken") {
  auto all =
      value(R"({"items":[{"metadata":{"name":"y.io"},"versions":[{"version":"v1","resources":[{"resource":"a"}]}]},
    {"metadata":{"name":"x.io"},"versions":[{"version":"v2"},{"version":"v1","resources":[{"resource":"b"}]}]}]})");
  auto found = resources_in(all, "x.io", "v1");
  REQUIRE(found);
  CHECK(json::write(json::value(*found)) == R"([{"resource":"b"}])");
  CHECK(resources_in(all, "x.io", "v2")->empty());
  CHECK_FALSE(resources_in(all, "x.io", "v3"));
}

TEST_CASE("a Swagger document gives what is below the version, with what that refers to and no more") {
  service_documents d;
  take_openapi_v2(d, value(swagger), "/apis/x.io/v1");
  CHECK(d.v2_paths.size() == 2);
  CHECK(json::write(json::value(d.v2_paths)).find("#/parameters/") == std::string::npos);
  std::vector<std::string> names;
  for (auto& m : d.v2_definitions) names.emplace_back(m.name);
  std::ranges::sort(names);
  CHECK(names == std::vector<std::string>{"io.x.Part", "io.x.Shared", "io.x.Thing"});
  CHECK(d.v2_digest.size() == 64);
}

TEST_CASE("others' paths and definitions are added to the own document, which keeps what it has") {
  service_documents d;
  take_openapi_v2(d, value(swagger), "/apis/x.io/v1");
  const auto fetched = one(d);
  const std::string own = R"({"paths":{"/version/":{}},"definitions":{"io.x.Shared":{"type":"string"}}})";
  auto merged = value(with_openapi_v2(own, fetched));
  CHECK(merged["paths"].size() == 3);
  CHECK(merged["definitions"].size() == 3);
  CHECK(merged["definitions"]["io.x.Shared"]["type"].as_string() == "string");
  CHECK(with_openapi_v2(own, {}) == own);
  CHECK(openapi_v2_mark({}).empty());
  CHECK_FALSE(openapi_v2_mark(fetched).empty());
  // The protobuf form leaves the same names out: a field's name is the first in its message.
  const auto name = std::string("\x0a\x0b") + "io.x.Shared";
  auto bytes = with_openapi_v2_protobuf(name, fetched, "v1");
  CHECK(bytes.find(name, name.size()) == std::string::npos);
  CHECK(bytes.find(std::string("\x0a\x0a") + "io.x.Thing") != std::string::npos);
}

TEST_CASE("a Swagger document whose parameters make it grow without end is left out") {
  auto with = [](std::size_t parameter_bytes, std::size_t times) {
    json::array list;
    for (std::size_t i = 0; i < times; ++i) list.push_back(json::object{{"$ref", "#/parameters/p"}});
    service_documents d;
    take_openapi_v2(
        d,
        json::object{{"paths", json::object{{"/apis/x.io/v1/a", json::object{{"parameters", std::move(list)}}}}},
                     {"parameters", json::object{{"p", json::object{{"name", std::string(parameter_bytes, 'x')}}}}}},
        "/apis/x.io/v1");
    return d.v2_paths.size();
  };
  CHECK(with(1'000, 100) == 1);
  CHECK(with(openapi_max_bytes / 8, 7) == 1);
  CHECK(with(openapi_max_bytes / 8, 9) == 0);
  CHECK(with(1'000'000, 50'000) == 0);  // 50 GB
}

TEST_CASE("what is merged costs what both sides have, not their product") {
  // Some 3 MB against 60,000 names: as a search for each it would be hours.
  constexpr std::size_t names = 60'000;
  std::string own = R"({"paths":{"/version/":{}},"definitions":{"a":{})";
  for (std::size_t i = 0; i < names; ++i) own += fmt::format(R"(,"own.definition.number.{}":{{"type":"object"}})", i);
  own += "}}";
  service_documents d;
  d.v2_paths.set("/apis/x.io/v1/", json::object{});
  for (std::size_t i = 0; i < names; ++i)
    d.v2_definitions.append(fmt::format("{}.definition.number.{}", i % 2 ? "own" : "other", i), json::object{});
  auto merged = value(with_openapi_v2(own, one(d)));
  CHECK(merged["definitions"].size() == 1 + names + names / 2);
  auto bytes = with_openapi_v2_protobuf(std::string(3'000'000, '\x0a'), one(d), "v1");
  CHECK(bytes.size() > 3'000'000 + names * 20);
}

TEST_CASE("of what a server tells of its resources a bounded part is told on") {
  json::array all;
  for (int i = 0; i < 100; ++i) all.push_back(json::object{{"resource", fmt::format("r{}", i)}});
  CHECK(cut_resources(all));
  CHECK(all.size() == 100);
  for (int i = 0; i < 100; ++i) all.push_back(json::object{{"resource", std::string(resources_max_bytes / 50, 'r')}});
  CHECK_FALSE(cut_resources(all));
  CHECK(all.size() > 140);
  CHECK(all.size() < 150);
}

TEST_CASE("the index of v3 documents names others' beside the own") {
  service_documents d;
  d.openapi_v3 =
      openapi_v3_part(value(R"({"paths":{"apis/x.io/v1":{"serverRelativeURL":"/openapi/v3/apis/x.io/v1?hash=1"},
      "apis/x.io":{"serverRelativeURL":"/openapi/v3/apis/x.io?hash=2"},"version":{"serverRelativeURL":"/v"},
      "apis/y.io/v1":{"serverRelativeURL":"/y"}}})"),
                      "x.io", "v1");
  CHECK(d.openapi_v3.size() == 2);
  const auto fetched = one(d);
  auto merged = value(with_openapi_v3(R"({"paths":{"apis/x.io":{"serverRelativeURL":"own"},"version":{}}})", fetched));
  CHECK(merged["paths"].size() == 3);
  CHECK(merged["paths"]["apis/x.io"]["serverRelativeURL"].as_string() == "own");
  CHECK(merged["paths"]["apis/x.io/v1"]["serverRelativeURL"].as_string() == "/openapi/v3/apis/x.io/v1?hash=1");
  CHECK(openapi_v3_owner(fetched, "apis/x.io/v1") == "v1.x.io");
  CHECK(openapi_v3_owner(fetched, "apis/y.io/v1").empty());
}

TEST_CASE("of a server that only has version 2 there is a document of version 3, as kube-openapi makes it") {
  service_documents d;
  take_openapi_v2(d, value(R"({"paths":{"/apis/x.io/v1/namespaces/{namespace}/things":{
      "parameters":[{"name":"namespace","in":"path","required":true,"type":"string","uniqueItems":true}],
      "post":{"description":"create a Thing","consumes":["application/json","*/*"],"produces":["application/json"],
        "operationId":"createThing","parameters":[{"name":"body","in":"body","required":true,
          "schema":{"$ref":"#/definitions/Thing"}},{"name":"dryRun","in":"query","type":"string"}],
        "responses":{"201":{"description":"Created","schema":{"$ref":"#/definitions/Thing"}},"401":{"description":"no"}},
        "x-kubernetes-action":"post"}}},
    "definitions":{"Thing":{"type":"object","properties":{"spec":{"description":"wanted","$ref":"#/definitions/Spec"},
      "list":{"type":"array","items":{"$ref":"#/definitions/Spec"}}}},"Spec":{"type":"object"}}})"),
                  "/apis/x.io/v1");
  const auto fetched = one(d);
  auto index = value(with_openapi_v3(R"({"paths":{}})", fetched));
  CHECK(index["paths"]["apis/x.io/v1"]["serverRelativeURL"].as_string() ==
        "/openapi/v3/apis/x.io/v1?hash=" + d.v2_digest);
  REQUIRE(swagger_alone(fetched, "apis/x.io/v1"));
  CHECK(!swagger_alone(fetched, "apis/x.io/v2"));
  auto made = value(openapi_v3_of(*swagger_alone(fetched, "apis/x.io/v1")));
  CHECK(made["openapi"].as_string() == "3.0.0");
  auto& item = made["paths"]["/apis/x.io/v1/namespaces/{namespace}/things"];
  CHECK(json::write(item["parameters"]) == R"([{"name":"namespace","in":"path","required":true,)"
                                           R"("schema":{"type":"string","uniqueItems":true}}])");
  auto& post = item["post"];
  CHECK(post["x-kubernetes-action"].as_string() == "post");
  CHECK(post["parameters"].size() == 1);
  CHECK(json::write(post["requestBody"]) ==
        R"({"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}},)"
        R"("*/*":{"schema":{"$ref":"#/components/schemas/Thing"}}}})");
  CHECK(json::write(post["responses"]) == R"({"201":{"description":"Created","content":{"application/json":{"schema":)"
                                          R"({"$ref":"#/components/schemas/Thing"}}}},"401":{"description":"no"}})");
  CHECK(json::write(made["components"]["schemas"]["Thing"]["properties"]) ==
        R"({"spec":{"description":"wanted","allOf":[{"$ref":"#/components/schemas/Spec"}]},)"
        R"("list":{"type":"array","items":{"$ref":"#/components/schemas/Spec"}}})");
  // Who has one is asked for it.
  d.openapi_v3.emplace("apis/x.io/v1", "/openapi/v3/apis/x.io/v1?hash=1");
  CHECK(!swagger_alone(one(d), "apis/x.io/v1"));
}

}  // namespace kedge::api::aggregation
