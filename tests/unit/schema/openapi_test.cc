#include "schema/openapi.h"

#include <doctest/doctest.h>

#include "json/parse.h"
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
    auto text = openapi_v3(path, "v1.34.4");
    REQUIRE(text);
    auto v = json::parse(*text, {.duplicates = &duplicates});
    REQUIRE(v);
    CHECK(duplicates.empty());
    CHECK((*v)["openapi"].as_string() == "3.0.0");
    CHECK((*v)["info"]["version"].as_string() == "v1.34.4");
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
      for (auto& parameter : *patch["parameters"].array()) takes = takes || parameter["name"].as_string() == "fieldValidation";
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
  CHECK(schemas["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["allOf"][0]["$ref"].as_string() == "#/components/schemas/io.k8s.api.core.v1.PodSpec");
  CHECK(schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"].as_string() == "int-or-string");
  CHECK(schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"].as_string() == "TCP");
  CHECK(v["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["get"]["operationId"].as_string() == "readCoreV1NamespacedPod");
  CHECK(v["paths"]["/api/v1/pods"]["get"]["operationId"].as_string() == "listCoreV1PodForAllNamespaces");
  CHECK(v["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]["post"]["x-kubernetes-group-version-kind"]["group"].as_string() == "policy");
}

TEST_CASE("the index names each document by its hash") {
  auto v = *json::parse(openapi_v3_index("v1.34.4"));
  CHECK(v["paths"].size() == openapi_v3_paths().size());
  auto url = v["paths"]["apis/apps/v1"]["serverRelativeURL"].as_string();
  CHECK(url == "/openapi/v3/apis/apps/v1?hash=" + openapi_hash("apis/apps/v1", "v1.34.4"));
  CHECK(openapi_hash("apis/apps/v1", "v1.34.4").size() == 128);
  CHECK(openapi_hash("apis/apps/v1", "v1.34.4") != openapi_hash("apis/apps/v1", "v1.34.5"));
}

TEST_CASE("Swagger 2.0 of everything") {
  json::duplicate_list duplicates;
  auto v = json::parse(openapi_v2("v1.34.4"), {.duplicates = &duplicates});
  REQUIRE(v);
  CHECK(duplicates.empty());
  CHECK((*v)["swagger"].as_string() == "2.0");
  check_references(*v, (*v)["definitions"], "#/definitions/");
  CHECK((*v)["definitions"]["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"]["$ref"].as_string() == "#/definitions/io.k8s.api.apps.v1.DeploymentSpec");
}
