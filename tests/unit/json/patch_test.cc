#include "json/patch.h"

#include <doctest/doctest.h>

#include "json/parse.h"
#include "json/write.h"

using namespace kedge;

namespace {
json::value parsed(std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v, text);
  return *v;
}
std::string patched(std::string_view document, std::string_view patch) {
  auto v = json::apply_json_patch(parsed(document), parsed(patch));
  return v ? json::write(*v) : std::string(name_of(v.error().code));
}
}  // namespace

TEST_CASE("JSON patch, by the examples of RFC 6902 appendix A and kube-apiserver's rules") {
  struct {
    std::string_view document, patch, result;
  } cases[] = {
      {R"({"foo":"bar"})", R"([{"op":"add","path":"/baz","value":"qux"}])", R"({"foo":"bar","baz":"qux"})"},
      {R"({"foo":["bar","baz"]})", R"([{"op":"add","path":"/foo/1","value":"qux"}])", R"({"foo":["bar","qux","baz"]})"},
      {R"({"foo":["a"]})", R"([{"op":"add","path":"/foo/-","value":["b"]},{"op":"add","path":"/foo/2","value":3}])",
       R"({"foo":["a",["b"],3]})"},
      {R"({"baz":"qux","foo":"bar"})", R"([{"op":"remove","path":"/baz"}])", R"({"foo":"bar"})"},
      {R"({"foo":["bar","qux","baz"]})", R"([{"op":"remove","path":"/foo/1"}])", R"({"foo":["bar","baz"]})"},
      {R"({"baz":"qux"})", R"([{"op":"replace","path":"/baz","value":"boo"}])", R"({"baz":"boo"})"},
      {R"({"foo":{"bar":"baz","waldo":"fred"},"qux":{}})", R"([{"op":"move","from":"/foo/waldo","path":"/qux/thud"}])",
       R"({"foo":{"bar":"baz"},"qux":{"thud":"fred"}})"},
      {R"({"foo":["all","grass","cows","eat"]})", R"([{"op":"move","from":"/foo/1","path":"/foo/3"}])",
       R"({"foo":["all","cows","eat","grass"]})"},
      {R"({"a":{"b":1}})", R"([{"op":"copy","from":"/a","path":"/c"}])", R"({"a":{"b":1},"c":{"b":1}})"},
      {R"({"/":9,"~1":10})", R"([{"op":"test","path":"/~01","value":10},{"op":"test","path":"/~1","value":9}])",
       R"({"/":9,"~1":10})"},
      {R"({"a":1})", R"([{"op":"test","path":"/none","value":null}])", R"({"a":1})"},
      {R"({"a":1})", R"([{"op":"replace","path":"","value":{"b":2}}])", R"({"b":2})"},
      {R"({"a":1})", R"([])", R"({"a":1})"},
      // What the RFC has otherwise.
      {R"({"a":1})", R"([{"op":"replace","path":"/b","value":1}])", R"({"a":1,"b":1})"},
      {R"({"a":1})", R"([{"op":"add","path":"/b"}])", R"({"a":1,"b":null})"},
      {R"({"a":[1,2]})", R"([{"op":"remove","path":"/a/01"}])", R"({"a":[1]})"},
      {R"({"a":[1,2]})", R"([{"op":"remove","path":"/a/-1"}])", R"({"a":[1]})"},
      {R"({"a":[1,2]})", R"([{"op":"remove","path":"/a/+0"}])", R"({"a":[2]})"},
      {R"({"a":[1,2]})", R"([{"op":"add","path":"/a/-1","value":3}])", R"({"a":[1,2,3]})"},
      {R"({"a":[1,2]})", R"([{"op":"add","path":"/a/-3","value":3}])", R"({"a":[3,1,2]})"},
      {R"({"a":[1,2]})", R"([{"op":"replace","path":"/a/-2","value":3}])", R"({"a":[3,2]})"},
      {R"({"a":[[1],[2]]})", R"([{"op":"add","path":"/a/-1/0","value":3}])", R"({"a":[[1],[3,2]]})"},
      {R"({"a":1})", R"([{"op":"remove","path":"x/a"}])", "{}"},
      {R"({"a~2":1})", R"([{"op":"remove","path":"/a~2"}])", "{}"},
      {R"({"a":1})", R"([{"op":"copy","from":"/none","path":"/b"}])", R"({"a":1,"b":null})"},
      {R"({"a":{"b":null}})", R"([{"op":"test","path":"/a/b"},{"op":"test","path":"/a/c","value":null}])",
       R"({"a":{"b":null}})"},
      {R"({"a":[1,2]})", R"([{"op":"add","path":"/a/-4","value":3}])", "conflict"},
      {R"({"a":[1,2]})", R"([{"op":"remove","path":"/a/-3"}])", "conflict"},
      {R"({"a":1})", R"([{"op":"remove","path":"a"}])", "conflict"},
      {R"({"a":1})", R"([{"op":"remove","path":""}])", "conflict"},
      {R"({"a":1})", R"([{"op":"add","path":"","value":{}}])", "conflict"},
      {R"({"a":1})", R"([{"op":"move","from":"/none","path":"/b"}])", "conflict"},
      {R"({"a":1})", R"([{"op":"replace","path":"","value":3}])", "conflict"},
      {R"({"a":1})", R"([{"op":"test","path":"/a","value":1.0}])", "conflict"},
      {R"({"a":[1]})", R"([{"op":"test","path":"/a/1","value":null}])", "conflict"},
      {R"({"a":null})", R"([{"op":"add","path":"/a/b","value":1}])", "conflict"},
      {R"({"a":1})", R"([{"op":"test","path":"/a","value":2}])", "conflict"},
      {R"({"a":1})", R"([{"op":"add","path":"/b/c","value":2}])", "conflict"},
      {R"({"a":1})", R"([{"op":"add","path":"/a/c","value":2}])", "conflict"},
      {R"({"a":1})", R"([{"op":"remove","path":"/b"}])", "conflict"},
      {R"({"a":[1]})", R"([{"op":"add","path":"/a/2","value":1}])", "conflict"},
      {R"({"a":[1]})", R"([{"op":"remove","path":"/a/-"}])", "conflict"},
      {R"({"a":{"b":{}}})", R"([{"op":"move","from":"/a","path":"/a/b/c"}])", "conflict"},
      {R"({"a":1})", R"([{"op":"frobnicate","path":"/a"}])", "conflict"},
      {R"({"a":1})", R"([{"op":"add","value":3}])", "conflict"},
      {R"({"a":1})", R"({"op":"add"})", "invalid"},
      {R"({"a":1})", R"([1])", "invalid"},
      {R"({"a":1})", R"([null])", "conflict"},
  };
  for (auto& c : cases) {
    CAPTURE(c.patch);
    CHECK(patched(c.document, c.patch) == c.result);
  }
}

TEST_CASE("a JSON patch that would grow without bound is refused") {
  std::string doubling = "[";
  for (int i = 0; i < 40; ++i) doubling += std::string(i ? "," : "") + R"({"op":"copy","from":"/a","path":"/a/-"})";
  CHECK(patched(R"({"a":["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]})", doubling + "]") ==
        "conflict");
  std::string many = "[";
  for (int i = 0; i < 10'001; ++i) many += std::string(i ? "," : "") + R"({"op":"test","path":"/a","value":1})";
  CHECK(patched(R"({"a":1})", many + "]") == "too_large");
  std::string deep = R"([{"op":"add","path":"/a","value":[]})";
  std::string path = "/a";
  for (int i = 0; i < 600; ++i) {
    deep += R"(,{"op":"add","path":")" + path + R"(/0","value":[]})";
    path += "/0";
  }
  CHECK(patched("{}", deep + "]") == "conflict");
}

TEST_CASE("merge patch, by the examples of RFC 7386 appendix A") {
  struct {
    std::string_view document, patch, result;
  } cases[] = {
      {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
      {R"({"a":"b"})", R"({"a":null})", R"({})"},
      {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
      {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
      {R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
      {R"({"a":"b"})", R"(["c"])", R"(["c"])"},
      {R"({"a":"foo"})", R"("bar")", R"("bar")"},
      {R"({"e":null})", R"({"a":1})", R"({"e":null,"a":1})"},
      {R"([1,2])", R"({"a":"b","c":null})", R"({"a":"b"})"},
      {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"},
  };
  for (auto& c : cases) {
    CAPTURE(c.patch);
    CHECK(json::write(json::apply_merge_patch(parsed(c.document), parsed(c.patch))) == c.result);
  }
}
