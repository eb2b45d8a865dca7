#include "schema/strategic_merge.h"

#include <doctest/doctest.h>

#include "json/parse.h"
#include "json/write.h"

using namespace kedge;
using namespace kedge::schema;

namespace {
std::string merged(std::string_view type, std::string_view document, std::string_view patch) {
  auto d = json::parse(document), p = json::parse(patch);
  REQUIRE_MESSAGE(d, document);
  REQUIRE_MESSAGE(p, patch);
  auto r = strategic_merge(*find_type(type), *d, *p);
  return r ? json::write(*r) : r.error().message;
}
}  // namespace

TEST_CASE("strategic merge") {
  struct {
    std::string_view what, type, document, patch, result;
  } cases[] = {
      {"maps merge, null deletes", "core/v1.ConfigMap", R"({"data":{"a":"1","b":"2"}})",
       R"({"data":{"b":null,"c":"3"},"immutable":null})", R"({"data":{"a":"1","c":"3"}})"},
      {"nulls of new maps are nothing", "core/v1.ConfigMap", R"({})", R"({"metadata":{"labels":{"a":null,"b":"c"}}})",
       R"({"metadata":{"labels":{"b":"c"}}})"},
      {"lists merge by key; new ones go in front", "core/v1.PodSpec",
       R"({"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"}]})",
       R"({"containers":[{"name":"b","image":"3"},{"name":"c","image":"4"}]})",
       R"({"containers":[{"name":"a","image":"1"},{"name":"b","image":"3"},{"name":"c","image":"4"}]})"},
      {"a list without strategy is replaced", "core/v1.PodSpec", R"({"tolerations":[{"key":"a"},{"key":"b"}]})",
       R"({"tolerations":[{"key":"c"}]})", R"({"tolerations":[{"key":"c"}]})"},
      {"sets of scalars unite", "meta/v1.ObjectMeta", R"({"finalizers":["a","b"]})", R"({"finalizers":["b","c"]})",
       R"({"finalizers":["a","b","c"]})"},
      {"$patch delete in a list", "core/v1.PodSpec", R"({"containers":[{"name":"a"},{"name":"b"}]})",
       R"({"containers":[{"$patch":"delete","name":"a"}]})", R"({"containers":[{"name":"b"}]})"},
      {"$patch replace in a list", "core/v1.PodSpec", R"({"containers":[{"name":"a"},{"name":"b"}]})",
       R"({"containers":[{"name":"c"},{"$patch":"replace"}]})", R"({"containers":[{"name":"c"}]})"},
      {"$patch replace in a map", "core/v1.Pod", R"({"metadata":{"name":"x","labels":{"a":"b"}}})",
       R"({"metadata":{"$patch":"replace","name":"y"}})", R"({"metadata":{"name":"y"}})"},
      {"$patch delete in a map", "core/v1.Pod", R"({"metadata":{"name":"x","labels":{"a":"b"}}})",
       R"({"metadata":{"labels":{"$patch":"delete"}}})", R"({"metadata":{"name":"x","labels":{}}})"},
      {"$deleteFromPrimitiveList", "meta/v1.ObjectMeta", R"({"finalizers":["a","b","c"]})",
       R"({"$deleteFromPrimitiveList/finalizers":["a","c"]})", R"({"finalizers":["b"]})"},
      {"$retainKeys", "apps/v1.DeploymentSpec",
       R"({"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}})",
       R"({"strategy":{"$retainKeys":["type"],"type":"Recreate"}})", R"({"strategy":{"type":"Recreate"}})"},
      {"$retainKeys in a list element", "core/v1.PodSpec", R"({"volumes":[{"name":"v","emptyDir":{}}]})",
       R"({"volumes":[{"$retainKeys":["name","hostPath"],"name":"v","hostPath":{"path":"/x"}}]})",
       R"({"volumes":[{"name":"v","hostPath":{"path":"/x"}}]})"},
      {"$setElementOrder alone reorders", "core/v1.PodSpec",
       R"({"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]})",
       R"({"$setElementOrder/containers":[{"name":"c"},{"name":"a"}]})",
       R"({"containers":[{"name":"b"},{"name":"c"},{"name":"a"}]})"},
      {"$setElementOrder with a change", "core/v1.PodSpec", R"({"containers":[{"name":"a"},{"name":"b"}]})",
       R"({"$setElementOrder/containers":[{"name":"n"},{"name":"a"},{"name":"b"}],"containers":[{"name":"n","image":"i"}]})",
       R"({"containers":[{"name":"n","image":"i"},{"name":"a"},{"name":"b"}]})"},
      {"$setElementOrder of a set", "meta/v1.ObjectMeta", R"({"finalizers":["a","b"]})",
       R"({"$setElementOrder/finalizers":["c","b","a"],"finalizers":["c"]})", R"({"finalizers":["c","b","a"]})"},
      {"kubectl's usual patch", "apps/v1.Deployment",
       R"({"spec":{"template":{"spec":{"containers":[{"name":"app","image":"1","env":[{"name":"A","value":"x"}]},{"name":"sidecar"}]}}}})",
       R"({"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"app"}],"containers":[{"$setElementOrder/env":[{"name":"B"}],"name":"app","image":"2","env":[{"name":"B","value":"y"},{"$patch":"delete","name":"A"}]}]}}}})",
       R"({"spec":{"template":{"spec":{"containers":[{"name":"app","image":"2","env":[{"name":"B","value":"y"}]},{"name":"sidecar"}]}}}})"},
      {"number keys", "core/v1.ServiceSpec", R"({"ports":[{"port":80,"name":"a"}]})",
       R"({"ports":[{"port":80,"targetPort":8080}]})", R"({"ports":[{"port":80,"name":"a","targetPort":8080}]})"},
      {"another type replaces", "core/v1.ServicePort", R"({"targetPort":80})", R"({"targetPort":"http"})",
       R"({"targetPort":"http"})"},
      {"a new list loses its directives", "core/v1.PodSpec", R"({})",
       R"({"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a"},{"$patch":"delete","name":"b"}]})",
       R"({"containers":[{"name":"a"}]})"},
      // What is wrong is told as the real server tells it.
      {"no merge key", "core/v1.PodSpec", R"({"containers":[{"name":"a"}]})", R"({"containers":[{"image":"x"}]})",
       "map: map[image:x] does not contain declared merge key: name"},
      {"unknown directive", "core/v1.PodSpec", R"({"containers":[{"name":"a"}]})",
       R"({"containers":[{"$patch":"eat","name":"a"}]})", "unknown patch type: eat in map: map[$patch:eat name:a]"},
      {"unknown directive in a map", "core/v1.Pod", R"({"spec":{}})", R"({"spec":{"$patch":"eat"}})",
       "unknown patch type: eat in map: map[$patch:eat]"},
      {"retainKeys that do not cover the patch", "apps/v1.DeploymentSpec", R"({"strategy":{}})",
       R"({"strategy":{"$retainKeys":["type"],"rollingUpdate":{}}})", "invalid patch format of retainKeys"},
      {"order and list disagree", "core/v1.PodSpec", R"({"containers":[{"name":"a"}]})",
       R"({"$setElementOrder/containers":[{"name":"b"}],"containers":[{"name":"a"}]})",
       "The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n"},
      {"lists of lists", "meta/v1.ObjectMeta", R"({"finalizers":["a"]})", R"({"finalizers":[["b"]]})",
       "lists of lists are not supported"},
      {"not an object", "core/v1.Pod", R"({})", R"([])", "invalid JSON document"},
  };
  for (auto& c : cases) {
    CAPTURE(c.what);
    CHECK(merged(c.type, c.document, c.patch) == c.result);
  }
}

TEST_CASE("a merge of very long lists takes no quadratic time") {
  json::value document, patch;
  for (int i = 0; i < 50'000; ++i) {
    document.member("finalizers").push_back("a" + std::to_string(i));
    patch.member("finalizers").push_back("b" + std::to_string(i));
    patch.member("ownerReferences").push_back(json::object{{"uid", std::to_string(i)}});
    document.member("ownerReferences").push_back(json::object{{"uid", std::to_string(49'999 - i)}});
  }
  auto r = strategic_merge(*find_type("meta/v1.ObjectMeta"), document, patch);
  REQUIRE(r);
  CHECK((*r)["finalizers"].size() == 100'000);
  CHECK((*r)["ownerReferences"].size() == 50'000);
}
