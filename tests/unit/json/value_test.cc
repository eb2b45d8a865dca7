#include "json/value.h"

#include <doctest/doctest.h>

using namespace kedge;

TEST_CASE("a path through missing members reads as null") {
  json::value v = json::object{{"metadata", json::object{{"name", "a"}}}};
  CHECK(v["metadata"]["name"].as_string() == "a");
  CHECK(v["metadata"]["labels"]["app"].is_null());
  CHECK(v[3]["x"].is_null());
}

TEST_CASE("an object keeps its order and finds its members at every size") {
  json::object o;
  for (int i = 0; i < 100; ++i) o.set("k" + std::to_string(i), i);
  CHECK(o.find("k77")->as_integer() == 77);
  CHECK(o.erase("k50"));
  CHECK(o.find("k50") == nullptr);
  CHECK(o.find("k51")->as_integer() == 51);
  CHECK(o.begin()->name == "k0");
  auto copy = o;
  copy.set("k77", "other");
  CHECK(o.find("k77")->as_integer() == 77);
}

TEST_CASE("equality looks at content, not at order or the spelling of numbers") {
  json::value a = json::object{{"x", 1}, {"y", json::array{1, 2.0}}};
  json::value b = json::object{{"y", json::array{1.0, 2}}, {"x", 1}};
  CHECK(a == b);
  b.set("x", 2);
  CHECK_FALSE(a == b);
}
