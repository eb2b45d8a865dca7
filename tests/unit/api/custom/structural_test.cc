// Structural schemas: what they refuse to be, what they prune, default and validate.
#include <doctest/doctest.h>

#include <algorithm>
#include <ctime>
#include <limits>

#include "api/custom/codec.h"
#include "api/custom/json_path.h"
#include "api/custom/limits.h"
#include "api/custom/rules.h"
#include "api/custom/structural.h"
#include "api/custom/upgrade.h"
#include "api/custom/value_rules.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::api::custom {
namespace {

json::value parsed_text(std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v.has_value(), text);
  return *std::move(v);
}

structural schema_of(std::string_view spec) {
  return structural::compile(parsed_text(R"({"type":"object","properties":{"spec":)" + std::string(spec) + "}}"));
}

json::value with_spec(std::string_view spec) {
  return parsed_text(R"({"apiVersion":"g/v1","kind":"K","metadata":{"name":"a"},"spec":)" + std::string(spec) + "}");
}

std::string spec_text(const json::value& v) { return json::write(v["spec"]); }

std::string complaints(const causes& found) {
  std::string out;
  for (auto& c : found) out += (out.empty() ? "" : "; ") + c.field + ": " + c.message;
  return out;
}

}  // namespace

TEST_CASE("what a schema doesn't know is pruned and named") {
  struct row {
    const char *schema, *spec, *left, *unknown;
  };
  const row rows[] = {
      {R"({"type":"object","properties":{"a":{"type":"string"}}})", R"({"a":"x","b":1,"c":{}})", R"({"a":"x"})",
       "spec.b spec.c"},
      {R"({"type":"object","x-kubernetes-preserve-unknown-fields":true})", R"({"a":1,"b":{"c":2}})",
       R"({"a":1,"b":{"c":2}})", ""},
      {R"({"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"in":{"type":"object","properties":{"a":{"type":"string"}}}}})",
       R"({"in":{"a":"x","b":1},"out":{"b":1}})", R"({"in":{"a":"x"},"out":{"b":1}})", "spec.in.b"},
      {R"({"type":"object","additionalProperties":{"type":"object","properties":{"a":{"type":"string"}}}})",
       R"({"k":{"a":"x","b":1}})", R"({"k":{"a":"x"}})", "spec.k.b"},
      {R"({"type":"object","properties":{"l":{"type":"array","items":{"type":"object","properties":{"a":{"type":"string"}}}}}})",
       R"({"l":[{"a":"x"},{"z":1}]})", R"({"l":[{"a":"x"},{}]})", "spec.l[1].z"},
      {R"({"type":"object","properties":{"t":{"type":"object","x-kubernetes-embedded-resource":true,"properties":{"spec":{"type":"object"}}}}})",
       R"({"t":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","nom":"q"},"spec":{},"more":1}})",
       R"({"t":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{}}})",
       "spec.t.metadata.nom spec.t.more"},
      {R"({"type":"object","additionalProperties":true})", R"({"a":1})", R"({"a":1})", ""},
  };
  for (auto& r : rows) {
    CAPTURE(r.schema);
    auto v = with_spec(r.spec);
    std::vector<std::string> unknown;
    schema_of(r.schema).prune(v, &unknown);
    std::string names;
    for (auto& u : unknown) names += (names.empty() ? "" : " ") + u;
    CHECK(spec_text(v) == r.left);
    CHECK(names == r.unknown);
    CHECK(v["metadata"]["name"].as_string() == "a");
  }
}

TEST_CASE("defaults fill what is absent, and nulls that may not be") {
  struct row {
    const char *schema, *spec, *filled;
  };
  const row rows[] = {
      {R"({"type":"object","properties":{"a":{"type":"integer","default":3},"b":{"type":"string"}}})", R"({"b":"x"})",
       R"({"b":"x","a":3})"},
      {R"({"type":"object","properties":{"a":{"type":"integer","default":3}}})", R"({"a":null})", R"({"a":3})"},
      {R"({"type":"object","properties":{"a":{"type":"integer","nullable":true,"default":3}}})", R"({"a":null})",
       R"({"a":null})"},
      {R"({"type":"object","properties":{"a":{"type":"integer"}}})", R"({"a":null})", R"({})"},
      {R"({"type":"object","properties":{"in":{"type":"object","default":{},"properties":{"a":{"type":"boolean","default":true}}}}})",
       R"({})", R"({"in":{"a":true}})"},
      {R"({"type":"object","properties":{"l":{"type":"array","items":{"type":"object","properties":{"p":{"type":"string","default":"TCP"}}}}}})",
       R"({"l":[{},{"p":"UDP"}]})", R"({"l":[{"p":"TCP"},{"p":"UDP"}]})"},
      {R"({"type":"object","additionalProperties":{"type":"object","properties":{"a":{"type":"integer","default":1}}}})",
       R"({"k":{}})", R"({"k":{"a":1}})"},
  };
  for (auto& r : rows) {
    CAPTURE(r.schema);
    auto v = with_spec(r.spec);
    schema_of(r.schema).apply_defaults(v);
    CHECK(spec_text(v) == r.filled);
  }
}

TEST_CASE("values are refused in the real server's words") {
  struct row {
    const char *schema, *spec, *wrong;
  };
  const row rows[] = {
      {R"({"type":"object","properties":{"n":{"type":"integer"}}})", R"({"n":"x"})",
       R"(spec.n: Invalid value: "string": spec.n in body must be of type integer: "string")"},
      {R"({"type":"object","properties":{"n":{"type":"integer"}}})", R"({"n":1.5})",
       R"(spec.n: Invalid value: "number": spec.n in body must be of type integer: "number")"},
      {R"({"type":"object","properties":{"n":{"type":"integer"}}})", R"({"n":2.0})", ""},
      {R"({"type":"object","properties":{"n":{"type":"number"}}})", R"({"n":2})", ""},
      {R"({"type":"object","required":["a"],"properties":{"a":{"type":"string"}}})", R"({})", "spec.a: Required value"},
      {R"({"type":"object","properties":{"c":{"type":"string","enum":["red","blue"]}}})", R"({"c":"green"})",
       R"(spec.c: Unsupported value: "green": supported values: "red", "blue")"},
      {R"({"type":"object","properties":{"n":{"type":"integer","maximum":10,"minimum":1}}})", R"({"n":11})",
       "spec.n: Invalid value: 11: spec.n in body should be less than or equal to 10"},
      {R"({"type":"object","properties":{"n":{"type":"integer","maximum":10,"minimum":1}}})", R"({"n":0})",
       "spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1"},
      {R"({"type":"object","properties":{"n":{"type":"integer","minimum":1,"exclusiveMinimum":true}}})", R"({"n":1})",
       "spec.n: Invalid value: 1: spec.n in body should be greater than 1"},
      {R"({"type":"object","properties":{"n":{"type":"integer","multipleOf":5}}})", R"({"n":7})",
       "spec.n: Invalid value: 7: spec.n in body should be a multiple of 5"},
      {R"({"type":"object","properties":{"s":{"type":"string","minLength":2}}})", R"({"s":"é"})",
       R"(spec.s: Invalid value: "é": spec.s in body should be at least 2 chars long)"},
      {R"({"type":"object","properties":{"s":{"type":"string","maxLength":2}}})", R"({"s":"abc"})",
       "spec.s: Too long: may not be more than 2 bytes"},
      {R"({"type":"object","properties":{"s":{"type":"string","pattern":"^a+$"}}})", R"({"s":"b"})",
       R"(spec.s: Invalid value: "b": spec.s in body should match '^a+$')"},
      {R"({"type":"object","properties":{"s":{"type":"string","format":"date-time"}}})", R"({"s":"noon"})",
       R"(spec.s: Invalid value: "noon": spec.s in body must be of type date-time: "noon")"},
      {R"({"type":"object","properties":{"s":{"type":"string","format":"int-made-up"}}})", R"({"s":"noon"})", ""},
      {R"({"type":"object","properties":{"l":{"type":"array","maxItems":1,"items":{"type":"string"}}}})",
       R"({"l":["a","b"]})", "spec.l: Too many: 2: must have at most 1 items"},
      {R"({"type":"object","properties":{"l":{"type":"array","items":{"type":"integer"}}}})", R"({"l":[1,"b"]})",
       R"(spec.l[1]: Invalid value: "string": spec.l[1] in body must be of type integer: "string")"},
      {R"({"type":"object","properties":{"l":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}}}})",
       R"({"l":["a","b","a"]})", R"(spec.l[2]: Duplicate value: "a")"},
      {R"({"type":"object","properties":{"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["n"],"items":{"type":"object","required":["n"],"properties":{"n":{"type":"string"}}}}}})",
       R"({"l":[{"n":"a"},{"n":"a"}]})", R"(spec.l[1]: Duplicate value: {"n":"a"})"},
      {R"({"type":"object","properties":{"p":{"x-kubernetes-int-or-string":true}}})", R"({"p":true})",
       R"(spec.p: Invalid value: "boolean": spec.p in body must be of type integer,string: "boolean")"},
      {R"({"type":"object","properties":{"p":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]}}})",
       R"({"p":"80%"})", ""},
      {R"({"type":"object","nullable":true})", "null", ""},
      {R"({"type":"object","oneOf":[{"required":["a"]},{"required":["b"]}],"properties":{"a":{"type":"string"},"b":{"type":"string"}}})",
       R"({"a":"x","b":"y"})",
       R"(<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives)"},
      {R"({"type":"object","not":{"required":["a"]},"properties":{"a":{"type":"string"}}})", R"({"a":"x"})",
       R"(<nil>: Invalid value: "": "spec" must not validate the schema (not))"},
      {R"({"type":"object","x-kubernetes-validations":[{"rule":"self.a > 0"}],"required":["a"],"properties":{"a":{"type":"integer"}}})",
       R"({})", "spec.a: Required value"},
      {R"({"type":"object","properties":{"t":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}})",
       R"({"t":{"kind":"Pod"}})", "spec.t.apiVersion: Required value: must not be empty"},
  };
  for (auto& r : rows) {
    CAPTURE(r.schema);
    CAPTURE(r.spec);
    causes found;
    schema_of(r.schema).validate(found, with_spec(r.spec), nullptr);
    CHECK(complaints(found) == r.wrong);
  }
}

TEST_CASE("what stood before and is unchanged is not complained about") {
  auto s = schema_of(
      R"({"type":"object","properties":{"a":{"type":"string","enum":["x"]},"b":{"type":"string","enum":["x"]}}})");
  auto before = with_spec(R"({"a":"old","b":"x"})");
  causes kept, changed;
  s.validate(kept, with_spec(R"({"a":"old","b":"x"})"), &before);
  CHECK(complaints(kept) == "");
  s.validate(changed, with_spec(R"({"a":"old","b":"y"})"), &before);
  CHECK(complaints(changed) == R"(spec.b: Unsupported value: "y": supported values: "x")");
}

TEST_CASE("what broke its rules before costs no more than in proportion, and is told of in a few words") {
  const auto schema =
      parsed_text(R"({"type":"array","items":{"type":"integer","x-kubernetes-validations":[{"rule":"self > 0"}]}})");
  const auto compiled = structural::compile(schema);
  const auto rules = rule_tree::compile(schema);
  REQUIRE(rules);
  const auto time_of = [&](std::size_t n) {
    const json::value list = json::array(n, json::value(0));
    const auto before = list;
    auto least = std::numeric_limits<std::clock_t>::max();
    for (int i = 0; i < 3; ++i) {
      causes out;
      std::vector<std::string> warnings;
      const auto began = std::clock();  // of the processor: others may have it meanwhile
      rule_run all(*rules, out, warnings, compiled.root(), list, &before);
      while (all.step()) continue;
      least = std::min(least, std::clock() - began);
      CHECK(out.empty());
      CHECK(!warnings.empty());
      CHECK(warnings.size() <= rule_warnings_max);
    }
    return least;
  };
  const auto few = time_of(4'000), many = time_of(32'000);
  CHECK_MESSAGE(many < 24 * few, few << ", " << many);
}

TEST_CASE("a schema that is not structural is refused") {
  struct row {
    const char *schema, *wrong;
  };
  const row rows[] = {
      {R"({"type":"object"})", ""},
      {R"({"type":"object","x-kubernetes-preserve-unknown-fields":true})", ""},
      {R"({})", "s.type: Required value: must not be empty at the root"},
      {R"({"type":"string"})", R"(s.type: Invalid value: "string": must be object at the root)"},
      {R"({"type":"object","properties":{"a":{}}})",
       "s.properties[a].type: Required value: must not be empty for specified object fields"},
      {R"({"type":"object","properties":{"a":{"x-kubernetes-preserve-unknown-fields":true}}})", ""},
      {R"({"type":"object","properties":{"a":{"type":"array"}}})",
       "s.properties[a].items: Required value: must be specified"},
      {R"({"type":"object","properties":{"a":{"type":"array","items":{}}}})",
       "s.properties[a].items.type: Required value: must not be empty for specified array items"},
      {R"({"type":"object","properties":{"a":{"type":"string","pattern":"("}}})",
       R"(s.properties[a].pattern: Invalid value: "(": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`)"},
      {R"({"type":"object","properties":{"a":{"type":"object"}},"additionalProperties":{"type":"string"}})",
       "s.additionalProperties: Forbidden: must not be used at the root; s.additionalProperties: Forbidden: "
       "additionalProperties and properties are mutual exclusive"},
      {R"({"type":"object","properties":{"a":{"x-kubernetes-int-or-string":true,"type":"string"}}})", ""},
      {R"({"type":"object","properties":{"a":{"type":"object","additionalProperties":false}}})", ""},
      {R"({"type":"object","properties":{"a":{"type":"array","uniqueItems":true,"items":{"type":"string"}}}})",
       "s.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes "
       "quadratic"},
      {R"({"type":"object","properties":{"a":{"type":"integer","default":"x"}}})",
       R"(s.properties[a].default: Invalid value: "string":  in body must be of type integer: "string")"},
      {R"({"type":"object","properties":{"a":{"type":"object","anyOf":[{"type":"object"}]}}})",
       "s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural"},
      {R"({"type":"object","properties":{"a":{"type":"array","x-kubernetes-list-type":"map","items":{"type":"object"}}}})",
       "s.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is "
       "map"},
  };
  for (auto& r : rows) {
    CAPTURE(r.schema);
    causes found;
    check_schema(found, parsed_text(r.schema), "s");
    CHECK(complaints(found) == r.wrong);
  }
}

TEST_CASE("formats") {
  struct row {
    const char *format, *text;
    bool good;
  };
  const row rows[] = {
      {"date-time", "2026-11-21T04:50:38Z", true},
      {"date-time", "2026-11-21", false},
      {"date", "2026-02-28", true},
      {"date", "2026-02-30", false},
      {"ipv4", "10.0.0.1", true},
      {"ipv4", "::1", false},
      {"ipv6", "::1", true},
      {"ipv6", "10.0.0.1", false},
      {"cidr", "10.0.0.0/8", true},
      {"cidr", "10.0.0.0/33", false},
      {"mac", "00:11:22:33:44:55", true},
      {"mac", "00:11", false},
      {"uuid", "fcd49c54-1bc2-4844-800e-e99c82884001", true},
      {"uuid", "x", false},
      {"byte", "YQ==", true},
      {"byte", "!", false},
      {"email", "a@b.c", true},
      {"email", "a", false},
      {"hostname", "a.b-c", true},
      {"hostname", "-a", false},
      {"uri", "https://x/y", true},
      {"uri", "no uri", false},
      {"duration", "1h30m", true},
      {"duration", "soon", false},
      {"password", "anything", true},
  };
  for (auto& r : rows) {
    CAPTURE(r.format);
    CAPTURE(r.text);
    CHECK(has_format(r.format, r.text) == r.good);
  }
}

TEST_CASE("JSON paths of printer columns") {
  auto o = parsed_text(
      R"({"spec":{"ports":[{"name":"a","port":1},{"name":"b","port":2}],"a.b":3},"status":{"conditions":[{"type":"X","status":"False"},{"type":"Ready","status":"True"}]},
                           "metadata":{"labels":{"app.kubernetes.io/name":"n"}}})");
  struct row {
    const char *path, *value;
  };
  const row rows[] = {
      {".spec.ports[1].name", R"("b")"},
      {".spec.ports[-1].port", "2"},
      {".spec.ports[*].name", R"("a")"},
      {R"(.status.conditions[?(@.type=="Ready")].status)", R"("True")"},
      {R"(.status.conditions[?(@.type=='Ready')].status)", R"("True")"},
      {R"(.status.conditions[?(@.type=="No")].status)", ""},
      {R"(.metadata.labels.app\.kubernetes\.io/name)", R"("n")"},
      {R"(.metadata.labels['app\.kubernetes\.io/name'])", R"("n")"},
      {"{.spec.ports[0].port}", "1"},
      {".spec.nothing.here", ""},
      {".spec.ports[7].name", ""},
  };
  for (auto& r : rows) {
    CAPTURE(r.path);
    auto p = json_path::parse(r.path);
    REQUIRE(p.has_value());
    auto found = p->first(o);
    CHECK((found ? json::write(*found) : std::string()) == r.value);
  }
  for (auto bad : {"", ".", "..a", ".a[", ".a[x]", ".a[?(type)]"}) {
    CAPTURE(bad);
    CHECK_FALSE(json_path::parse(bad).has_value());
  }
}

TEST_CASE("versions stand in Kubernetes' order") {
  const char* order[] = {"v10",     "v2",        "v1",        "v11beta2", "v10beta3",
                         "v3beta1", "v12alpha1", "v11alpha2", "foo1",     "foo10"};
  for (std::size_t i = 0; i + 1 < std::size(order); ++i) {
    CAPTURE(order[i]);
    CHECK(version_before(order[i], order[i + 1]));
    CHECK_FALSE(version_before(order[i + 1], order[i]));
  }
}

TEST_CASE("a definition kept as v1beta1 is read as v1") {
  auto crd = parsed_text(
      R"({"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1","metadata":{"name":"gizmos.example.com"},
    "spec":{"group":"example.com","version":"v1","names":{"plural":"gizmos","singular":"gizmo","kind":"Gizmo","listKind":"GizmoList"},"scope":"Namespaced",
    "validation":{"openAPIV3Schema":{"type":"object"}},"subresources":{"status":{}},"versions":[{"name":"v1","served":true,"storage":true}],
    "additionalPrinterColumns":[{"name":"S","type":"string","JSONPath":".spec.s"}],"conversion":{"strategy":"None"},"preserveUnknownFields":false},
    "status":{"storedVersions":["v1"]}})");
  auto text =
      upgrade_stored("/registry/apiextensions.k8s.io/customresourcedefinitions/gizmos.example.com", json::write(crd));
  REQUIRE(text.has_value());
  auto v = parsed_text(*text);
  CHECK(v["apiVersion"].as_string() == "apiextensions.k8s.io/v1");
  CHECK(
      json::write(v["spec"]["versions"]) ==
      R"([{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}},"subresources":{"status":{}},"additionalPrinterColumns":[{"name":"S","type":"string","jsonPath":".spec.s"}]}])");
  CHECK(v["spec"]["validation"].is_null());
  CHECK(v["spec"]["version"].is_null());
  CHECK_FALSE(
      upgrade_stored("/registry/apiextensions.k8s.io/customresourcedefinitions/gizmos.example.com", *text).has_value());
  CHECK_FALSE(upgrade_stored("/registry/configmaps/default/a", json::write(crd)).has_value());
}

}  // namespace kedge::api::custom
