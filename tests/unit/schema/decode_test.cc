#include "schema/decode.h"

#include <doctest/doctest.h>

#include "json/parse.h"
#include "json/write.h"
#include "schema/quantity.h"
#include "schema/time_text.h"

using namespace kedge;
using namespace kedge::schema;

namespace {
struct outcome {
  std::string text;
  unknown_list unknown;
};
outcome decoded(std::string_view api_version, std::string_view kind, std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v, text);
  outcome o;
  auto r = decode(*find_kind(api_version, kind), *v, &o.unknown);
  o.text = r ? json::write(*v) : r.error().message;
  return o;
}
}  // namespace

TEST_CASE("an object comes out as kube-apiserver prints it: field order, sorted maps, structs that are always there") {
  CHECK(
      decoded(
          "v1", "ConfigMap",
          R"({"data":{"b":"2","a":"1"},"metadata":{"labels":{},"name":"x","creationTimestamp":null},"kind":"ConfigMap","apiVersion":"v1"})")
          .text == R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"},"data":{"a":"1","b":"2"}})");
  CHECK(decoded("v1", "Pod",
                R"({"spec":{"containers":[{"name":"c","image":"i","stdin":false,"env":[]}],"hostNetwork":null}})")
            .text == R"({"metadata":{},"spec":{"containers":[{"name":"c","image":"i","resources":{}}]},"status":{}})");
  CHECK(decoded("rbac.authorization.k8s.io/v1", "ClusterRole", R"({"rules":null})").text ==
        R"({"metadata":{},"rules":null})");
  CHECK(
      decoded("v1", "Event", R"({})").text ==
      R"({"metadata":{},"involvedObject":{},"source":{},"firstTimestamp":null,"lastTimestamp":null,"eventTime":null,"reportingComponent":"","reportingInstance":""})");
  CHECK(
      decoded("apps/v1", "Deployment", R"({"spec":{"replicas":0,"paused":false}})").text ==
      R"({"metadata":{},"spec":{"replicas":0,"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"strategy":{}},"status":{}})");
}

TEST_CASE("decoding twice changes nothing") {
  for (
      auto text :
      {R"({"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"0.5","memory":"1024Mi"}},"livenessProbe":{"httpGet":{"port":"http"}}}]}})"}) {
    auto once = decoded("v1", "Pod", text).text;
    CHECK(decoded("v1", "Pod", once).text == once);
  }
}

TEST_CASE("unknown fields are named by their place, and gone") {
  auto o = decoded(
      "v1", "Pod",
      R"({"foo":1,"metadata":{"Name":"x","name":"y"},"spec":{"containers":[{"name":"a"},{"name":"b","ports":[{"bar":{}}]}],"volumes":[{"name":"v","emptyDirX":{}}]}})");
  CHECK(o.unknown ==
        unknown_list{"foo", "metadata.Name", "spec.containers[1].ports[0].bar", "spec.volumes[0].emptyDirX"});
  CHECK(
      o.text ==
      R"({"metadata":{"name":"y"},"spec":{"volumes":[{"name":"v"}],"containers":[{"name":"a","resources":{}},{"name":"b","ports":[{"containerPort":0}],"resources":{}}]},"status":{}})");
  std::string many = "{";
  for (int i = 0; i < 1000; ++i) many += (i ? ",\"x" : "\"x") + std::to_string(i) + "\":1";
  CHECK(decoded("v1", "Pod", many + "}").unknown.size() == 100);
}

TEST_CASE("a value of the wrong type is told as Go tells it, the first of the document") {
  struct {
    std::string_view api_version, kind, text, message;
  } cases[] = {
      {"apps/v1", "Deployment", R"({"spec":{"replicas":"3"}})",
       "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"},
      {"apps/v1", "Deployment", R"({"spec":{"replicas":1.5,"paused":3}})",
       "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"},
      {"apps/v1", "Deployment", R"({"spec":{"replicas":4294967296}})",
       "json: cannot unmarshal number 4294967296 into Go struct field DeploymentSpec.spec.replicas of type int32"},
      {"apps/v1", "Deployment", R"({"spec":{"template":{"spec":{"containers":[{"env":[{"value":1}]}]}}}})",
       "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type "
       "string"},
      {"v1", "Pod", R"({"spec":{"containers":{}}})",
       "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"},
      {"v1", "Pod", R"({"spec":"x"})",
       "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec"},
      {"v1", "Pod", R"({"metadata":{"labels":{"a":true}}})",
       "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string"},
      {"v1", "Pod", R"({"metadata":{"labels":["a"]}})",
       "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string"},
      {"v1", "Secret", R"({"data":{"a":"%%%"}})", "illegal base64 data at input byte 0"},
      {"v1", "Secret", R"({"data":{"a":"YQ="}})", "illegal base64 data at input byte 2"},
      {"v1", "Pod", R"({"metadata":{"deletionTimestamp":"yesterday"}})",
       R"(parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006")"},
      {"v1", "Pod", R"({"metadata":{"deletionTimestamp":7}})",
       "json: cannot unmarshal number into Go value of type string"},
      {"v1", "Pod", R"({"spec":{"containers":[{"resources":{"limits":{"cpu":"1x"}}}]}})",
       "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
      {"v1", "Pod", "[]", "json: cannot unmarshal array into Go value of type v1.Pod"},
  };
  for (auto& c : cases) {
    CAPTURE(c.text);
    CHECK(decoded(c.api_version, c.kind, c.text).text == c.message);
  }
}

TEST_CASE("scalars of their own form become canonical") {
  CHECK(decoded("coordination.k8s.io/v1", "Lease",
                R"({"spec":{"renewTime":"2026-11-21T06:50:38.000123+02:00","leaseDurationSeconds":40}})")
            .text == R"({"metadata":{},"spec":{"leaseDurationSeconds":40,"renewTime":"2026-11-21T04:50:38.000123Z"}})");
  CHECK(decoded("v1", "Namespace", R"({"metadata":{"creationTimestamp":"2026-11-21T06:50:38.9+02:00"}})").text ==
        R"({"metadata":{"creationTimestamp":"2026-11-21T04:50:38Z"},"spec":{},"status":{}})");
  CHECK(decoded("v1", "Secret", R"({"data":{"a":"YW\nI=","b":"","c":null}})").text ==
        R"({"metadata":{},"data":{"a":"YWI=","b":"","c":null}})");
  CHECK(decoded("apps/v1", "ControllerRevision", R"({"data":{"z":1,"a":[null]},"revision":3})").text ==
        R"({"metadata":{},"data":{"z":1,"a":[null]},"revision":3})");
  CHECK(
      decoded("v1", "Pod", R"({"spec":{"containers":[{"resources":{"requests":{"cpu":2,"memory":1e3}}}]}})").text ==
      R"({"metadata":{},"spec":{"containers":[{"name":"","resources":{"requests":{"cpu":"2","memory":"1k"}}}]},"status":{}})");
}

TEST_CASE("a custom resource definition's schemas keep their unions") {
  CHECK(
      decoded(
          "apiextensions.k8s.io/v1", "CustomResourceDefinition",
          R"({"spec":{"versions":[{"schema":{"openAPIV3Schema":{"type":"object","properties":{"b":{"items":{"type":"string"},"additionalProperties":false,"default":{"z":1,"a":null}},"a":{"additionalProperties":{"type":"string"},"enum":[1,"x",null]}}}}}]}})")
          .text.find(
              R"("openAPIV3Schema":{"type":"object","properties":{"a":{"enum":[1,"x",null],"additionalProperties":{"type":"string"}},"b":{"default":{"z":1,"a":null},"items":{"type":"string"},"additionalProperties":false}}})") !=
      std::string::npos);
}

TEST_CASE("canonical quantities") {
  struct {
    std::string_view text, canonical;
  } cases[] = {
      {"1000m", "1"},
      {"0.5", "500m"},
      {"1Gi", "1Gi"},
      {"1024Mi", "1Gi"},
      {"1536Mi", "1536Mi"},
      {"1.5Gi", "1536Mi"},
      {"100m", "100m"},
      {"1000", "1k"},
      {"1500", "1500"},
      {"0", "0"},
      {"0.0", "0"},
      {"000", "0"},
      {"-0", "0"},
      {"-5", "-5"},
      {"1e3", "1e3"},
      {"1000e3", "1e6"},
      {"12E2", "1200"},
      {"1n", "1n"},
      {"0.1n", "1n"},
      {"1.1n", "2n"},
      {"128974848", "128974848"},
      {"129M", "129M"},
      {"123Mi", "123Mi"},
      {"16Ki", "16Ki"},
      {"1023", "1023"},
      {"512Ki", "512Ki"},
      {"1Ki", "1Ki"},
      {"0.5Ki", "512"},
      {"0.5Mi", "512Ki"},
      {"1.500", "1.500"},
      {"10000000000000000000000", "10000E"},
      {"16Ei", "9223372036854775807"},
  };
  for (auto& c : cases) {
    CAPTURE(c.text);
    auto q = canonical_quantity(c.text);
    REQUIRE(q);
    CHECK(*q == c.canonical);
  }
  for (std::string_view text : {"", "x", "1 Gi", "1gi", "--1", "1.2.3", "e", "1e", "1ee3", ".", "m"}) {
    CAPTURE(text);
    auto q = canonical_quantity(text);
    if (text == "." || text == "m") continue;  // Kubernetes reads these as 0
    CHECK_FALSE(q);
  }
}

TEST_CASE("quantities add and round up") {
  auto a = *quantity::parse("100m");
  a += *quantity::parse("1.9");
  CHECK(a.text() == "2");
  CHECK(a.milli_value() == 2000);
  CHECK(quantity::parse("1m")->value() == 1);
  CHECK(quantity::parse("-1500m")->value() == -2);  // away from zero, as Kubernetes rounds
  CHECK(quantity::parse("1Gi")->value() == 1073741824);
  CHECK(*quantity::parse("1Gi") == *quantity::parse("1024Mi"));
  CHECK(*quantity::parse("1G") < *quantity::parse("1Gi"));
  CHECK(quantity::of_milli(1500).text() == "1500m");
  CHECK(quantity::of(2048, quantity::format::binary_si).text() == "2Ki");
}

TEST_CASE("times") {
  CHECK(time_text({0, 0}, false) == "1970-01-01T00:00:00Z");
  CHECK(time_text({zero_time_seconds, 0}, false) == "0001-01-01T00:00:00Z");
  CHECK(time_text(*parse_time_text("9999-12-31T23:59:59Z", false), false) == "9999-12-31T23:59:59Z");
  CHECK(time_text(*parse_time_text("2024-02-29T00:00:00-01:30", false), true) == "2024-02-29T01:30:00.000000Z");
  for (std::string_view text :
       {"2023-02-29T00:00:00Z", "2023-13-01T00:00:00Z", "2023-01-01T24:00:00Z", "2023-01-01T00:00:00",
        "2023-01-01 00:00:00Z", "2023-01-01T00:00:00Zx", "2023-01-01T00:00:00.Z"})
    CHECK_FALSE(parse_time_text(text, false));
  CHECK_FALSE(parse_time_text("2023-01-01T00:00:00Z", true));
}
