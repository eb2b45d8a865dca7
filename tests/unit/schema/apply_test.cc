// Who owns which fields. What is expected here was computed by k8s.io/apimachinery's field manager (0.34.4) from the
// same steps.
#include <doctest/doctest.h>

#include "json/parse.h"
#include "json/write.h"
#include "schema/apply/managed.h"
#include "schema/apply/structure.h"
#include "schema/decode.h"
#include "schema/defaults.h"

using namespace kedge;
using namespace kedge::schema;

namespace {

json::value parsed(std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v, text);
  return *std::move(v);
}

// The fields that an object of this type sets, or why it can't be one.
std::string fields(std::string_view type, std::string_view object) {
  auto set = apply::fields_of(*find_type(type), parsed(object));
  return set ? json::write(apply::to_fields_v1(*set)) : set.error().message;
}

// An object's life: what each of its writers does, one second after the other.
struct life {
  const type_info* type = nullptr;
  json::value object;  // with managedFields; null before the first write
  int second = 0;
  std::string refused;

  apply::writer writer(std::string manager, std::string subresource) {
    auto kind = kind_of(*type);
    return {*type,
            std::string(kind.api_version),
            std::move(manager),
            subresource,
            {subresource.empty() ? "status" : "spec"},
            "2026-01-01T00:00:0" + std::to_string(second++) + "Z"};
  }
  void keep(json::value next, json::value managed) {
    apply_defaults(*type, next);
    if (!managed.empty()) next.member("metadata").set("managedFields", std::move(managed));
    normalise(*type, next);
    object = std::move(next);
    refused.clear();
  }
  void apply(std::string manager, std::string_view config, bool force = false, std::string subresource = {}) {
    auto done = apply::apply(writer(std::move(manager), std::move(subresource)), object, parsed(config), force);
    if (!done) {
      refused = done.error().message;
    } else if (!done->conflicts.empty()) {
      refused = apply::conflict_message(done->conflicts);
    } else {
      keep(std::move(done->object), std::move(done->managed));
    }
  }
  void update(std::string manager, std::string_view next_text, std::string subresource = {}) {
    auto w = writer(std::move(manager), std::move(subresource));
    auto next = parsed(next_text);
    REQUIRE(decode(*type, next));
    apply_defaults(*type, next);
    normalise(*type, next);
    if (object.is_null()) {
      auto owners = apply::after_create(w, next, {});
      return keep(std::move(next), std::move(owners));
    }
    auto before = object;
    auto held = before["metadata"]["managedFields"];
    before.member("metadata").erase("managedFields");
    auto owners = apply::after_update(w, before, next, held, {});
    keep(std::move(next), std::move(owners));
  }
  // "manager operation[/subresource] second fields", an entry a line.
  std::string owners() const {
    std::string out;
    auto& all = object["metadata"]["managedFields"];
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto text = [&](const char* name) { return std::string(all[i][name].as_string()); };
      auto time = text("time");
      out += text("manager") + " " + text("operation") +
             (text("subresource").empty() ? "" : "/" + text("subresource")) + " " +
             (time.empty() ? "-" : time.substr(18, 1)) + " " + json::write(all[i]["fieldsV1"]) + "\n";
    }
    return out;
  }
};

std::string config_map(std::string_view rest) {
  return R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"})" + std::string(rest) + "}";
}

}  // namespace

TEST_CASE("the fields of an object, by the topology of its type") {
  struct {
    std::string_view what, type, object, result;
  } cases[] = {
      {"maps and scalars", "core/v1.ConfigMap", R"({"data":{"a":"1","b":""},"immutable":true})",
       R"({"f:data":{"f:a":{},"f:b":{}},"f:immutable":{}})"},
      {"nothing in a map is something", "core/v1.ConfigMap", R"({"data":{}})", R"({"f:data":{}})"},
      {"an atomic map", "core/v1.PodSpec", R"({"nodeSelector":{"a":"b"}})", R"({"f:nodeSelector":{}})"},
      {"a list by key", "core/v1.PodSpec", R"({"containers":[{"name":"b","image":"i"},{"name":"a"}]})",
       R"({"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}},"k:{\"name\":\"b\"}":{".":{},"f:image":{},"f:name":{}}}})"},
      {"two keys, one of them by its default, numbers in order", "core/v1.Container",
       R"({"ports":[{"containerPort":443},{"containerPort":80,"protocol":"UDP"}]})",
       R"({"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"UDP\"}":{".":{},"f:containerPort":{},"f:protocol":{}},"k:{\"containerPort\":443,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}})"},
      {"a set", "meta/v1.ObjectMeta", R"({"finalizers":["y","x"]})", R"({"f:finalizers":{"v:\"x\"":{},"v:\"y\"":{}}})"},
      {"an atomic list", "core/v1.PodSpec", R"({"tolerations":[{"key":"a"}]})", R"({"f:tolerations":{}})"},
      {"an atomic struct", "core/v1.SecretKeySelector", R"({"name":"a","key":"b"})", "{}"},
      {"unknown", "core/v1.PodSpec", R"({"containers":[{"name":"a","imag":"i"}]})",
       R"(.containers[name="a"].imag: field not declared in schema)"},
      {"another structure", "core/v1.PodSpec", R"({"securityContext":"x"})",
       ".securityContext: expected map, got &{x}"},
      {"a key that Go's zero stands for", "core/v1.PodSpec", R"({"containers":[{"image":"i"}]})",
       R"({"f:containers":{"k:{\"name\":\"\"}":{".":{},"f:image":{}}}})"},
      {"in an atomic list", "core/v1.PodSpec", R"({"tolerations":[{"foo":1}]})",
       ".tolerations[0].foo: field not declared in schema"},
      {"no list", "core/v1.PodSpec", R"({"containers":{"a":"b"}})", ".containers: expected list, got &{map[a:b]}"},
      {"no string", "core/v1.PodSpec", R"({"nodeName":["x",1]})",
       R"(.nodeName: expected string, got &value.valueUnstructured{Value:[]interface {}{"x", 1}})"},
      {"no number", "core/v1.PodSpec", R"({"initContainers":[{"name":"b","ports":[{"containerPort":"x"}]}]})",
       R"(.initContainers[name="b"].ports[containerPort="x",protocol="TCP"].containerPort: expected numeric (int or float), got string)"},
      {"no boolean", "core/v1.PodSpec", R"({"hostNetwork":"x"})", ".hostNetwork: expected boolean, got &{x}"},
      {"no map in a list of maps", "core/v1.PodSpec", R"({"containers":["x"]})",
       ".containers: element 0: associative list with keys may not have non-map elements"},
      {"twice in a set", "meta/v1.ObjectMeta", R"({"finalizers":["x","x"]})",
       R"(.finalizers: duplicate entries for key [="x"])"},
      {"no scalar in a set", "meta/v1.ObjectMeta", R"({"finalizers":["x",null]})",
       ".finalizers: element 1: associative list without keys has an element that's an explicit null"},
      {"nothing in a list of maps", "core/v1.PodSpec", R"({"containers":[null]})",
       ".containers: element 0: associative list with keys may not have a null element"},
      {"a map where a scalar is untyped", "core/v1.ServicePort", R"({"targetPort":{}})",
       ".targetPort: expected any scalar, got &{map[]}"},
      {"twice", "core/v1.PodSpec", R"({"containers":[{"name":"a"},{"name":"a"}]})",
       R"(.containers: duplicate entries for key [name="a"])"},
  };
  for (auto& c : cases) {
    CAPTURE(c.what);
    CHECK(fields(c.type, c.object) == c.result);
  }
}

TEST_CASE("FieldsV1 is read in any spelling and written in one") {
  auto text = [](std::string_view fields) {
    auto set = apply::from_fields_v1(parsed(fields));
    return set ? json::write(apply::to_fields_v1(*set)) : set.error().message;
  };
  CHECK(text(R"({"f:a":{}})") == R"({"f:a":{}})");
  CHECK(text(R"({"f:l":{"k:{ \"b\":1, \"a\":\"x\" }":{".":{},"f:v":{}}}})") ==
        R"({"f:l":{"k:{\"a\":\"x\",\"b\":1}":{".":{},"f:v":{}}}})");
  CHECK(text(R"({"f:l":{"i:3":{},"v:\"x\"":{}}})") == R"({"f:l":{"v:\"x\"":{},"i:3":{}}})");
  CHECK(text(R"({"x":{}})").starts_with("invalid path element"));
  CHECK(text(R"({"k:[]":{}})").starts_with("invalid path element"));
  CHECK(text("7") == "fieldsV1 is no object");
}

TEST_CASE("applies share, conflict, force and remove") {
  life l{find_kind("v1", "ConfigMap"), {}};
  l.apply("m1", config_map(R"(,"data":{"a":"1","b":"1"})"));
  l.apply("m2", config_map(R"(,"data":{"a":"1"})"));
  // Who only shares has no time of its own.
  CHECK(l.owners() == "m2 Apply - {\"f:data\":{\"f:a\":{}}}\nm1 Apply 0 {\"f:data\":{\"f:a\":{},\"f:b\":{}}}\n");
  l.apply("m2", config_map(R"(,"data":{"a":"2","c":"2"})"));
  CHECK(l.refused == "Apply failed with 1 conflict: conflict with \"m1\": .data.a");
  l.apply("m2", config_map(R"(,"data":{"a":"2","c":"2"})"), true);
  CHECK(json::write(l.object["data"]) == R"({"a":"2","b":"1","c":"2"})");
  CHECK(l.owners() == "m1 Apply 0 {\"f:data\":{\"f:b\":{}}}\nm2 Apply 3 {\"f:data\":{\"f:a\":{},\"f:c\":{}}}\n");
  l.apply("m1", config_map(""));
  CHECK(json::write(l.object["data"]) == R"({"a":"2","c":"2"})");
  CHECK(l.owners() == "m2 Apply 3 {\"f:data\":{\"f:a\":{},\"f:c\":{}}}\n");
}

TEST_CASE("updates take what they change, and drop what they remove") {
  life l{find_kind("v1", "ConfigMap"), {}};
  l.update("u1", config_map(R"(,"data":{"a":"1","b":"1"})"));
  CHECK(l.owners() == "u1 Update 0 {\"f:data\":{\".\":{},\"f:a\":{},\"f:b\":{}}}\n");
  l.update("u2", config_map(R"(,"data":{"a":"2","b":"1"})"));
  CHECK(l.owners() == "u1 Update 0 {\"f:data\":{\".\":{},\"f:b\":{}}}\nu2 Update 1 {\"f:data\":{\"f:a\":{}}}\n");
  l.update("u2", config_map(R"(,"data":{"a":"2"})"));
  CHECK(l.owners() == "u1 Update 0 {\"f:data\":{}}\nu2 Update 1 {\"f:data\":{\"f:a\":{}}}\n");
  auto before = l.object;
  l.update("u3", config_map(R"(,"data":{"a":"2"})"));
  CHECK(l.object == before);
  l.apply("m", config_map(R"(,"data":{"a":"3"})"));
  CHECK(l.refused == "Apply failed with 1 conflict: conflict with \"u2\" using v1: .data.a");
}

TEST_CASE("an object that nobody tracked belongs to before-first-apply") {
  life l{find_kind("v1", "ConfigMap"), parsed(config_map(R"(,"data":{"a":"1"})"))};
  l.update("u", config_map(R"(,"data":{"a":"2"})"));
  CHECK(l.owners().empty());
  l.apply("m", config_map(R"(,"data":{"a":"2","b":"1"})"));
  CHECK(l.owners() ==
        "m Apply 1 {\"f:data\":{\"f:a\":{},\"f:b\":{}}}\nbefore-first-apply Update 1 "
        "{\"f:data\":{\".\":{},\"f:a\":{}}}\n");
}

TEST_CASE("lists of maps keep the applier's order, and others' items their places") {
  struct {
    std::string_view live, config, result;
  } cases[] = {
      {"abc", "cab", "cab"},  {"abc", "d", "abcd"}, {"abc", "bd", "abcd"}, {"abc", "da", "dabc"},
      {"abcd", "cb", "acdb"}, {"ab", "ba", "ba"},   {"", "ab", "ab"},      {"ab", "", "ab"},
  };
  for (auto& c : cases) {
    CAPTURE(c.live);
    CAPTURE(c.config);
    auto spec = [](std::string_view names) {
      json::array list;
      for (char n : names) list.emplace_back(json::object{{"name", std::string(1, n)}});
      return json::value(json::object{{"containers", std::move(list)}});
    };
    std::string order;
    auto merged = apply::merge(*find_type("core/v1.PodSpec"), spec(c.live), spec(c.config));
    for (std::size_t i = 0; i < merged["containers"].size(); ++i) order += merged["containers"][i]["name"].as_string();
    CHECK(order == c.result);
  }
}

TEST_CASE("times alone are no difference of owners") {
  auto same = [](std::string_view a, std::string_view b) { return apply::same_but_for_times(parsed(a), parsed(b)); };
  CHECK(same("[]", "[]"));
  CHECK(same(R"([{"manager":"a","time":"1"}])", R"([{"manager":"a","time":"2"}])"));
  CHECK(same(R"([{"manager":"a","time":"1"}])", R"([{"manager":"a"}])"));
  CHECK_FALSE(same(R"([{"manager":"a","time":"1"}])", R"([{"manager":"b","time":"1"}])"));
  CHECK_FALSE(same(R"([{"manager":"a"}])", R"([{"manager":"a","subresource":"s"}])"));
  CHECK_FALSE(same(R"([{"manager":"a","subresource":"s"}])", R"([{"manager":"a"}])"));
  CHECK_FALSE(same(R"([{"manager":"a"}])", "[]"));
}
