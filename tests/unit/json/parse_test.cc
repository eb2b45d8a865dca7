#include "json/parse.h"

#include <doctest/doctest.h>

#include "json/write.h"

using namespace kedge;

TEST_CASE("numbers keep their kind: int64 stays whole, everything else is a double") {
  auto v = json::parse(R"([0, -1, 9223372036854775807, 9223372036854775808, 18446744073709551616, 1.0, 1e3, -99999999999999999999])");
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
  for (std::string_view text : {"", " ", "{", "{\"a\":}", "[1,]", "{} {}", "nul", "\"\x01\"", "01", "{'a':1}", "\xff", "1e999"}) {
    CAPTURE(text);
    CHECK_FALSE(json::parse(text));
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
