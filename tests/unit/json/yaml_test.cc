#include <doctest/doctest.h>

#include "json/parse.h"
#include "json/write.h"

using namespace kedge;

namespace {
std::string as_json(std::string_view yaml) {
  auto v = json::parse_yaml(yaml);
  return v ? json::write(*v) : "error: " + v.error().message;
}
}  // namespace

TEST_CASE("plain scalars have the types of YAML 1.1, quoted ones are text") {
  struct {
    std::string_view yaml, json;
  } cases[] = {
      {"yes", "true"},
      {"Off", "false"},
      {"y", "true"},
      {"N", "false"},
      {"\"yes\"", "\"yes\""},
      {"'12'", "\"12\""},
      {"~", "null"},
      {"", "null"},
      {"NULL", "null"},
      {"nil", "\"nil\""},
      {"12", "12"},
      {"-0", "0"},
      {"+7", "7"},
      {"0x1F", "31"},
      {"010", "8"},
      {"0o10", "8"},
      {"0b101", "5"},
      {"1_000", "1000"},
      {"08", "8"},
      {"9223372036854775808", "9223372036854775808"},
      {"-9223372036854775808", "-9223372036854775808"},
      {"1.5", "1.5"},
      {"1.0", "1"},
      {".5", "0.5"},
      {"1e3", "1000"},
      {"1.", "1"},
      {"1e", "\"1e\""},
      {"1.2.3", "\"1.2.3\""},
      {"-x", "\"-x\""},
      {"2026-11-21", "\"2026-11-21\""},
      {"2026-11-21T04:50:38Z", "\"2026-11-21T04:50:38Z\""},
      {"1:30", "\"1:30\""},
      {"100m", "\"100m\""},
      {"!!str 12", "\"12\""},
      {"!!binary aGk=", "\"hi\""},
      {"!!int 3", "3"},
      {"!!float 3", "3"},
  };
  for (auto& c : cases) {
    CAPTURE(c.yaml);
    CHECK(as_json("a: " + std::string(c.yaml)) == "{\"a\":" + std::string(c.json) + "}");
  }
}

TEST_CASE("keys become text") {
  CHECK(as_json("{1: a, yes: b, 1.5: c, 'x': d}") == R"({"1":"a","true":"b","1.5":"c","x":"d"})");
  CHECK(as_json("[a]: b").starts_with("error: "));
  CHECK(as_json("~: b").starts_with("error: "));
}

TEST_CASE("blocks, flows, comments and several documents") {
  CHECK(as_json("a:\n- x\n- w: 1\n  z: |\n    l1\n    l2\nb: >-\n  folded\n  text # not a comment\nc: {d: [1, 2]} # "
                "comment\n") ==
        R"({"a":["x",{"w":1,"z":"l1\nl2\n"}],"b":"folded text # not a comment","c":{"d":[1,2]}})");
  CHECK(as_json("a: 1\n---\nb: 2\n") == R"({"a":1})");
  auto all = json::parse_yaml_all("# nothing\n---\na: 1\n---\n---\n# empty\n---\nb: 2\n...\n");
  REQUIRE(all);
  REQUIRE(all->size() == 2);
  CHECK(json::write((*all)[1]) == R"({"b":2})");
}

TEST_CASE("aliases and merge keys") {
  CHECK(as_json("base: &b {x: 1, w: 2}\nc: {<<: *b, w: 3}\nd: *b\n") ==
        R"({"base":{"x":1,"w":2},"c":{"w":3,"x":1},"d":{"x":1,"w":2}})");
  CHECK(as_json("a: &a {x: 1}\nb: &b {x: 2, z: 3}\nc:\n  <<: [*a, *b]\n") ==
        R"({"a":{"x":1},"b":{"x":2,"z":3},"c":{"x":1,"z":3}})");
  CHECK(as_json("a: {<<: 3}").starts_with("error: "));
  CHECK(as_json("a: *nowhere").starts_with("error: "));
  CHECK(as_json("a: &x [*x]").starts_with("error: "));
}

TEST_CASE("an alias bomb is refused") {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    auto previous = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + previous;
    for (int k = 0; k < 9; ++k) bomb += ", " + previous;
    bomb += "]\n";
  }
  CHECK(as_json(bomb).find("excessive aliasing") != std::string::npos);
  std::string long_text = "a: &a " + std::string(1'000'000, 'x') + "\nb: [";
  for (int i = 0; i < 20; ++i) long_text += "*a, ";
  CHECK(as_json(long_text + "]\n").find("excessive aliasing") != std::string::npos);
}

TEST_CASE("duplicate keys are named with their line") {
  json::duplicate_list duplicates;
  auto v = json::parse_yaml("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", {.duplicates = &duplicates});
  REQUIRE(v);
  CHECK(json::write(*v) == R"({"a":3,"b":{"c":2}})");
  CHECK(duplicates ==
        json::duplicate_list{"line 4: key \"c\" already set in map", "line 5: key \"a\" already set in map"});
}

TEST_CASE("JSON is YAML") {
  CHECK(as_json(R"({"a":"yes","b":[1,2.5]})") == R"({"a":"yes","b":[1,2.5]})");
  CHECK(as_json("{\"a\": yes}") == R"({"a":true})");
}

TEST_CASE("malformed and hostile YAML is an error") {
  for (std::string text : {"a: b: c", "a:\n\t- b", "[1, 2", "{a: 1", "\"open", "a: .nan", "a: -.inf", "!!int x",
                           "%YAML 9.9\n---\na", "- a\nb: 1"}) {
    CAPTURE(text);
    CHECK(as_json(text).starts_with("error: "));
  }
  CHECK(as_json(std::string(10'000, '[')).starts_with("error: "));
  CHECK(as_json(std::string(10'000, '{')).starts_with("error: "));
}
