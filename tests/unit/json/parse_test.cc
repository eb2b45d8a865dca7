#include "json/parse.h"
#include "json/syntax.h"

#include <doctest/doctest.h>

#include "json/write.h"

using namespace kedge;

TEST_CASE("numbers keep their kind: int64 stays whole, everything else is a double") {
  auto v = json::parse(
      R"([0, -1, 9223372036854775807, 9223372036854775808, 18446744073709551616, 1.0, 1e3, -99999999999999999999])");
  REQUIRE(v);
  CHECK((*v)[2].as_integer() == 9223372036854775807);
  CHECK((*v)[0].is_integer());
  CHECK_FALSE((*v)[3].is_integer());
  CHECK((*v)[4].as_number() == 18446744073709551616.0);
  CHECK_FALSE((*v)[5].is_integer());
  CHECK((*v)[6].as_number() == 1000);
  CHECK((*v)[7].as_number() == -1e20);
}

TEST_CASE("large numbers inside strings are left alone") {
  auto v = json::parse(R"({"a":"18446744073709551616 \"18446744073709551616","b":18446744073709551616})");
  REQUIRE(v);
  CHECK((*v)["a"].as_string() == "18446744073709551616 \"18446744073709551616");
}

TEST_CASE("the last of a duplicate wins, in its first place, and each is named by its path") {
  json::duplicate_list duplicates;
  auto v = json::parse(R"({"a":1,"spec":{"containers":[{"image":"x","image":"y"}],"n":1,"n":2,"n":3},"a":2})",
                       {.duplicates = &duplicates});
  REQUIRE(v);
  CHECK(json::write(*v) == R"({"a":2,"spec":{"containers":[{"image":"y"}],"n":3}})");
  CHECK(duplicates == json::duplicate_list{"spec.containers[0].image", "spec.n", "spec.n", "a"});
}

TEST_CASE("depth is bounded") {
  auto nested = [](std::size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  CHECK(json::parse(nested(500)));
  auto too_deep = json::parse(nested(513));
  REQUIRE_FALSE(too_deep);
  CHECK(too_deep.error().code == errc::invalid);
  CHECK(json::parse(nested(4), {.depth_max = 8}));
  CHECK_FALSE(json::parse(nested(9), {.depth_max = 8}));
  CHECK(json::parse(nested(500)));  // the kept parser takes its bound from each call
}

TEST_CASE("what is not one JSON document is refused") {
  for (std::string_view text :
       {"", " ", "{", "{\"a\":}", "[1,]", "{} {}", "nul", "\"\x01\"", "01", "{'a':1}", "\xff", "1e999"}) {
    CAPTURE(text);
    CHECK_FALSE(json::parse(text));
  }
}

TEST_CASE("what is wrong with a text is said as Go's decoder says it") {
  constexpr std::pair<std::string_view, std::string_view> wrong[] = {
      {"", "unexpected end of JSON input"},
      {"{", "unexpected end of JSON input"},
      {"[1,", "unexpected end of JSON input"},
      {"\"a", "unexpected end of JSON input"},
      {"bad", "invalid character 'b' looking for beginning of value"},
      {"{\"a\":}", "invalid character '}' looking for beginning of value"},
      {"{'a':1}", "invalid character '\\'' looking for beginning of object key string"},
      {"{\"a\" 1}", "invalid character '1' after object key"},
      {"{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"},
      {"{\"a\":[1 2]}", "invalid character '2' after array element"},
      {"{\"a\":[{},]}", "invalid character ']' looking for beginning of value"},
      {"{} {}", "invalid character '{' after top-level value"},
      {"01", "invalid character '1' after top-level value"},
      {"nul", "unexpected end of JSON input"},
      {"nulL", "invalid character 'L' in literal null (expecting 'l')"},
      {"-x", "invalid character 'x' in numeric literal"},
      {"1.x", "invalid character 'x' after decimal point in numeric literal"},
      {"1e+x", "invalid character 'x' in exponent of numeric literal"},
      {"\"\x01\"", "invalid character '\\x01' in string literal"},
      {"\"\\q\"", "invalid character 'q' in string escape code"},
      {"\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"},
      {"\xff", "invalid character '\u00ff' looking for beginning of value"},
  };
  for (auto& [text, problem] : wrong) {
    CAPTURE(text);
    CHECK(json::syntax_problem(text) == problem);
    REQUIRE_FALSE(json::parse(text));
    CHECK(json::parse(text).error().message == problem);
  }
  for (std::string_view good :
       {"{}", "[[],{\"a\":[]}]", " 1 ", "\"\\u00e9\\n\"", "-0.5e-3", "{\"a\":{\"b\":[true,false,null]}}"}) {
    CAPTURE(good);
    CHECK(json::syntax_problem(good).empty());
  }
}

TEST_CASE("a large body is read as a small one") {
  std::string text = "[";
  for (int i = 0; i < 50'000; ++i) text += (i ? ",{\"i\":" : "{\"i\":") + std::to_string(i) + "}";
  text += "]";
  auto v = json::parse(text);
  REQUIRE(v);
  CHECK(v->size() == 50'000);
  CHECK(json::write(*v) == text);
}
