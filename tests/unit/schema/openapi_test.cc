#include "schema/openapi.h"

#include <doctest/doctest.h>

#include "base/protobuf_wire.h"
#include "json/parse.h"
#include "schema/openapi_proto.h"
#include "schema/resources.h"

using namespace kedge;
using namespace kedge::schema;

namespace {
// Every $ref of a document leads somewhere.
void check_references(const json::value& v, const json::value& schemas, std::string_view prefix) {
  if (auto a = v.array())
    for (auto& e : *a) check_references(e, schemas, prefix);
  auto o = v.object();
  if (!o) return;
  for (auto& m : *o) {
    if (m.name == "$ref" && m.value.is_string()) {
      REQUIRE(m.value.as_string().starts_with(prefix));
      CHECK_MESSAGE(schemas.find(m.value.as_string().substr(prefix.size())), m.value.as_string());
    }
    check_references(m.value, schemas, prefix);
  }
}
}  // namespace

TEST_CASE("every group version has a document whose references lead somewhere, and which has every kind") {
  for (auto& path : openapi_v3_paths()) {
    CAPTURE(path);
    json::duplicate_list duplicates;
    auto text = openapi_v3(path, "v1.37.2");
    REQUIRE(text);
    auto v = json::parse(*text, {.duplicates = &duplicates});
    REQUIRE(v);
    CHECK(duplicates.empty());
    CHECK((*v)["openapi"].as_string() == "3.0.0");
    CHECK((*v)["info"]["version"].as_string() == "v1.37.2");
    check_references(*v, (*v)["components"]["schemas"], "#/components/schemas/");
  }
  CHECK(openapi_v3("apis/none/v1", "v").error().code == errc::not_found);
}

TEST_CASE("what kubectl looks for is there: a PATCH of each kind that takes fieldValidation, and the kind's schema") {
  for (auto& r : all_resources()) {
    if (!r.has_verb("patch")) continue;
    CAPTURE(r.plural());
    auto v = *json::parse(*openapi_v3(r.group().empty() ? "api/v1" : "apis/" + r.api_version(), "v"));
    bool takes = false, has_schema = false;
    for (auto& p : *v["paths"].object()) {
      auto& patch = p.value["patch"];
      if (patch["x-kubernetes-group-version-kind"]["kind"].as_string() != r.kind()) continue;
      for (auto& parameter : *patch["parameters"].array())
        takes = takes || parameter["name"].as_string() == "fieldValidation";
    }
    for (auto& s : *v["components"]["schemas"].object())
      for (std::size_t i = 0; i < s.value["x-kubernetes-group-version-kind"].size(); ++i)
        has_schema = has_schema || s.value["x-kubernetes-group-version-kind"][i]["kind"].as_string() == r.kind();
    CHECK(takes);
    CHECK(has_schema);
  }
}

TEST_CASE("fields carry their types, merge keys and list types") {
  auto v = *json::parse(*openapi_v3("api/v1", "v"));
  auto& schemas = v["components"]["schemas"];
  auto& containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
  CHECK(containers["items"]["$ref"].as_string() == "#/components/schemas/io.k8s.api.core.v1.Container");
  CHECK(containers["x-kubernetes-patch-merge-key"].as_string() == "name");
  CHECK(containers["x-kubernetes-patch-strategy"].as_string() == "merge");
  CHECK(containers["x-kubernetes-list-type"].as_string() == "map");
  CHECK(schemas["io.k8s.api.core.v1.PodSpec"]["required"][0].as_string() == "containers");
  CHECK(schemas["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["allOf"][0]["$ref"].as_string() ==
        "#/components/schemas/io.k8s.api.core.v1.PodSpec");
  CHECK(schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"].as_string() == "int-or-string");
  CHECK(schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"].as_string() == "TCP");
  CHECK(v["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["get"]["operationId"].as_string() ==
        "readCoreV1NamespacedPod");
  CHECK(v["paths"]["/api/v1/pods"]["get"]["operationId"].as_string() == "listCoreV1PodForAllNamespaces");
  CHECK(v["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]["post"]["x-kubernetes-group-version-kind"]
         ["group"]
             .as_string() == "policy");
}

TEST_CASE("the index names each document by its hash") {
  auto v = *json::parse(openapi_v3_index("v1.37.2"));
  CHECK(v["paths"].size() == openapi_v3_paths().size());
  auto url = v["paths"]["apis/apps/v1"]["serverRelativeURL"].as_string();
  CHECK(url == "/openapi/v3/apis/apps/v1?hash=" + openapi_hash("apis/apps/v1", "v1.37.2"));
  CHECK(openapi_hash("apis/apps/v1", "v1.37.2").size() == 128);
  CHECK(openapi_hash("apis/apps/v1", "v1.37.2") != openapi_hash("apis/apps/v1", "v1.37.3"));
}

TEST_CASE("Swagger 2.0 of everything") {
  json::duplicate_list duplicates;
  auto v = json::parse(openapi_v2("v1.37.2"), {.duplicates = &duplicates});
  REQUIRE(v);
  CHECK(duplicates.empty());
  CHECK((*v)["swagger"].as_string() == "2.0");
  check_references(*v, (*v)["definitions"], "#/definitions/");
  CHECK((*v)["definitions"]["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"]["$ref"].as_string() ==
        "#/definitions/io.k8s.api.apps.v1.DeploymentSpec");
}

namespace {
// The contents of a message's fields with that number.
std::vector<std::string_view> parts(std::string_view message, int id) {
  std::vector<std::string_view> out;
  wire::reader in(message);
  wire::field f;
  while (!in.at_end()) {
    REQUIRE(in.next(f));
    if (f.id == id) out.push_back(f.data);
  }
  return out;
}
std::string_view part(std::string_view message, int id) {
  auto all = parts(message, id);
  REQUIRE(all.size() == 1);
  return all[0];
}
std::string_view named(std::string_view message, int id, std::string_view name) {
  for (auto p : parts(message, id))
    if (part(p, 1) == name) return part(p, 2);
  FAIL("nothing is named " << name);
  return {};
}
}  // namespace

TEST_CASE("the protobuf form says of paths and definitions what the JSON says") {
  auto text = openapi_v2_protobuf("v1.37.2");
  auto v = *json::parse(openapi_v2("v1.37.2"));
  CHECK(part(text, 1) == "2.0");
  CHECK(part(part(text, 2), 2) == "v1.37.2");
  auto paths = part(text, 8), definitions = part(text, 9);
  CHECK(parts(paths, 2).size() == v["paths"].size());
  CHECK(parts(definitions, 1).size() == v["definitions"].size());

  // Schema{$ref = 1, required = 19, type = 22, items = 23, properties = 25, extensions = 31}
  auto spec = named(definitions, 1, "io.k8s.api.core.v1.PodSpec");
  CHECK(part(part(spec, 22), 1) == "object");
  CHECK(part(spec, 19) == "containers");
  auto containers = named(part(spec, 25), 1, "containers");
  CHECK(part(part(part(containers, 23), 1), 1) == "#/definitions/io.k8s.api.core.v1.Container");
  CHECK(part(named(containers, 31, "x-kubernetes-patch-merge-key"), 2) == "\"name\"\n");
  auto selector = named(part(spec, 25), 1, "nodeSelector");
  CHECK(part(part(part(part(selector, 21), 1), 22), 1) == "string");
  auto pod = named(definitions, 1, "io.k8s.api.core.v1.Pod");
  CHECK(part(named(pod, 31, "x-kubernetes-group-version-kind"), 2) ==
        "[{\"group\":\"\",\"kind\":\"Pod\",\"version\":\"v1\"}]\n");

  // PathItem{patch = 8, parameters = 9}, Operation{consumes = 7, parameters = 8, responses = 9}
  auto item = named(paths, 2, "/api/v1/namespaces/{namespace}/pods/{name}");
  auto path_parameter = part(part(part(parts(item, 9)[0], 1), 2), 4);
  CHECK(part(path_parameter, 4) == "name");
  auto patch = part(item, 8);
  CHECK(parts(patch, 7).size() == 4);
  auto body = part(part(parts(patch, 8)[0], 1), 1);
  CHECK(part(body, 2) == "body");
  auto query = part(part(part(parts(patch, 8)[1], 1), 2), 3);
  CHECK(part(query, 4) == "dryRun");
  auto ok = part(named(part(patch, 9), 1, "200"), 1);
  CHECK(part(part(part(ok, 2), 1), 1) == "#/definitions/io.k8s.api.core.v1.Pod");
}

TEST_CASE("values of a schema that our tables never need are written too") {
  openapi_proto_writer w(json::object{{"title", "t"}});
  w.definition("d",
               *json::parse(R"({"type":["string","null"],"maximum":1.5,"minLength":3,"readOnly":true,"enum":["a",1],
    "allOf":[{"$ref":"#/x"}],"additionalProperties":false,"x-a":{"b":[1]}})"));
  auto document = std::move(w).take();
  auto d = named(part(document, 9), 1, "d");
  CHECK(parts(part(d, 22), 1).size() == 2);
  CHECK(parts(d, 20).size() == 2);
  CHECK(part(parts(d, 20)[1], 2) == "1\n");
  CHECK(part(part(d, 24), 1) == "#/x");
  CHECK(part(d, 21) == std::string_view("\x10\0", 2));
  CHECK(part(named(d, 31, "x-a"), 2) == "{\"b\":[1]}\n");
}

TEST_CASE("each kind that is served is described, and of those asked for most each field") {
  auto described = [](const json::value& schema) { return !schema["description"].as_string().empty(); };
  for (auto& r : all_resources()) {
    CAPTURE(r.plural());
    auto v = *json::parse(*openapi_v3(r.group().empty() ? "api/v1" : "apis/" + r.api_version(), "v"));
    for (auto& s : *v["components"]["schemas"].object())
      for (std::size_t i = 0; i < s.value["x-kubernetes-group-version-kind"].size(); ++i)
        if (s.value["x-kubernetes-group-version-kind"][i]["kind"].as_string() == r.kind()) {
          CHECK_MESSAGE(described(s.value), s.name);
          for (auto& f : *s.value["properties"].object())
            if (f.name == "apiVersion" || f.name == "kind" || f.name == "metadata")
              CHECK_MESSAGE(described(f.value), f.name);
        }
  }
  auto v2 = *json::parse(openapi_v2("v"));
  for (auto name : {"apps.v1.Deployment", "apps.v1.DeploymentSpec", "apps.v1.StatefulSetSpec", "batch.v1.CronJobSpec",
                    "core.v1.ServiceSpec", "core.v1.ServicePort", "core.v1.ConfigMap", "core.v1.Secret"}) {
    CAPTURE(name);
    auto& schema = v2["definitions"]["io.k8s.api." + std::string(name)];
    REQUIRE(schema.is_object());
    for (auto& f : *schema["properties"].object()) CHECK_MESSAGE(described(f.value), f.name);
  }
  // In the binary form as well.
  CHECK(openapi_v2_protobuf("v").find("The smallest thing that is scheduled.") != std::string::npos);
}
