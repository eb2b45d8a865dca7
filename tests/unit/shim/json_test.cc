#include "shim/json.h"

#include <doctest/doctest.h>

#include <string>

using namespace kedge::shim;

TEST_CASE("members of an object are found by name, the last of that name") {
  std::string_view o = R"( { "a" : 1 , "b":{"a":2,"c":[1,"}"]}, "a\"b": "x\\" , "a" : "last" } )";
  CHECK(json::member(o, "a") == "\"last\"");
  CHECK(json::member(o, "b") == R"({"a":2,"c":[1,"}"]})");
  CHECK(json::member(*json::member(o, "b"), "c") == R"([1,"}"])");
  CHECK(json::member(o, "none") == std::nullopt);
  CHECK(json::member("{}", "a") == std::nullopt);
}

TEST_CASE("what is no object has no members, and says so") {
  for (std::string_view text : {"", "[1]", "{\"a\"", "{\"a\":}", "{\"a\":1 \"b\":2}", "{\"a\":[1}", "{a:1}", "{\"a\":1",
                                "{\"a\":\"x", "{,\"a\":1}"}) {
    CAPTURE(text);
    json::members m(text);
    while (m.next()) {}
    CHECK_FALSE(m.ok());
  }
  json::members fine("{\"a\":1}");
  while (fine.next()) {}
  CHECK(fine.ok());
}

TEST_CASE("arrays") {
  json::elements e("[ 1, {\"a\":2} ,\"]\" ]");
  CHECK(e.next() == "1");
  CHECK(e.next() == "{\"a\":2}");
  CHECK(e.next() == "\"]\"");
  CHECK(e.next() == std::nullopt);
  CHECK(e.ok());
}

TEST_CASE("depth is bounded") {
  std::string deep(100'000, '[');
  std::string_view in = deep;
  CHECK(json::take_value(in) == std::nullopt);
}

TEST_CASE("strings mean what Go writes") {
  CHECK(json::text_of(R"("a\n\"\\\u0041\u00e9\u003e")") == "a\n\"\\A\xc3\xa9>");
  CHECK(json::text_of(R"("\ud83d\ude00")") == "\xf0\x9f\x98\x80");
  CHECK(json::text_of(R"("\ud83d!")") == "\xef\xbf\xbd!");
  CHECK(json::text_of("1") == std::nullopt);
  CHECK(json::text_of("\"\\u12\"") == std::nullopt);
  for (std::string text : {"", "plain", "a\"b\\c\n\x01", "\xc3\xa9"}) CHECK(json::text_of(json::quote(text)) == text);
}
