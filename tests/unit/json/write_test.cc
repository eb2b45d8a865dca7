#include "json/write.h"

#include <doctest/doctest.h>

#include "json/parse.h"

using namespace kedge;

TEST_CASE("what must be escaped is found wherever it stands in a long text") {
  for (std::size_t size : {1, 7, 8, 9, 16, 33})
    for (std::size_t at = 0; at < size; ++at)
      for (auto [c, escaped] : std::initializer_list<std::pair<char, std::string>>{{'"', "\\\""},
                                                                                   {'\\', "\\\\"},
                                                                                   {'\x1f', "\\u001f"},
                                                                                   {'\0', "\\u0000"},
                                                                                   {'\xff', "\\ufffd"},
                                                                                   {'\x7f', "\x7f"},
                                                                                   {'!', "!"},
                                                                                   {'[', "["}}) {
        std::string text(size, ' '),
            wanted = '"' + std::string(at, ' ') + escaped + std::string(size - at - 1, ' ') + '"', out;
        text[at] = c;
        json::write_string(text, out);
        CHECK(out == wanted);
      }
}

TEST_CASE("strings are escaped as Go escapes them") {
  struct {
    std::string_view text, written;
  } cases[] = {
      {"plain", "\"plain\""},
      {"q\"b\\s/", R"("q\"b\\s/")"},
      {"\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
      {"<a&b>", "\"<a&b>\""},
      {"\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", "\"\\u2028\\u2029\xe2\x80\xaa\""},
      {"\xc3\xa9\xf0\x9f\x98\x80", "\"\xc3\xa9\xf0\x9f\x98\x80\""},
      {"a\xff\xc0\x80z", R"("a\ufffd\ufffd\ufffdz")"},  // no start byte, an overlong form
      {"\xed\xa0\x80", R"("\ufffd\ufffd\ufffd")"},      // a surrogate
      {"\xe2\x82", R"("\ufffd\ufffd")"},                // cut off
      {"\xf4\x90\x80\x80", R"("\ufffd\ufffd\ufffd\ufffd")"},
  };
  for (auto& c : cases) {
    std::string out;
    json::write_string(c.text, out);
    CHECK(out == c.written);
  }
}

TEST_CASE("doubles print as Go's float64") {
  struct {
    double d;
    std::string_view written;
  } cases[] = {{0.0, "0"},
               {-0.0, "0"},
               {1.0, "1"},
               {0.1, "0.1"},
               {1e20, "100000000000000000000"},
               {1e21, "1e+21"},
               {1e-6, "0.000001"},
               {1e-7, "1e-7"},
               {-2.5e-9, "-2.5e-9"},
               {1.5e-10, "1.5e-10"},
               {1.7976931348623157e308, "1.7976931348623157e+308"},
               {123456.789, "123456.789"}};
  for (auto& c : cases) CHECK(json::write(json::value(c.d)) == c.written);
  CHECK(json::write(json::value(std::int64_t(-9223372036854775807 - 1))) == "-9223372036854775808");
}

TEST_CASE("indentation is MarshalIndent's") {
  auto v = json::parse(R"({"a":[1,{"b":null}],"e":{},"f":[]})");
  CHECK(json::write_indented(*v, 2) ==
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": null\n    }\n  ],\n  \"e\": {},\n  \"f\": []\n}");
}

TEST_CASE("YAML output: sorted keys, lists at the column of their key, quotes only where needed") {
  auto v = json::parse(
      R"({"b":[{"y":1,"x":"a: b"},[1,2],"- z"],"a":{"on":"yes","n":"12","e":"","t":"2020-01-01","m":"l1\nl2\n",
                          "k":"l1\n\n  l2","s":" lead","h":"a #b","i":"a#b","q":"it's","c":"# c"},"a10":{},"a2":[],"z":null,"f":1.5,"true":true})");
  REQUIRE(v);
  CHECK(json::write_yaml(*v) ==
        R"(a:
  c: '# c'
  e: ""
  h: 'a #b'
  i: a#b
  k: |-
    l1

      l2
  m: |
    l1
    l2
  "n": "12"
  "on": "yes"
  q: it's
  s: ' lead'
  t: 2020-01-01
a2: []
a10: {}
b:
- x: 'a: b'
  "y": 1
- - 1
  - 2
- '- z'
f: 1.5
"true": true
z: null
)");
}

TEST_CASE("what YAML output says, YAML input understands") {
  for (
      std::string_view text :
      {R"({"a":"\t tab","b":"x\n","c":"x\n\n","d":"\nx","e":"  x\ny","f":"null","g":"0x10","h":"1e3","i":"1_000","j":"~","k":".5"})",
       R"(["",[],{},[[]],[{}],[{"a":[{"b":[[1]]}]}],"a:","a: b",": a","? a","-a","- a","-","...","---","---x","=","<<","1:30"])",
       R"({"key with: colon":1,"":2,"- a":3,"#x":4,"multi\nline":5,"'":6,"\"":7,"yes":8,"é":"ü\u0085"})",
       R"("just text")", "3", "null"}) {
    auto v = json::parse(text);
    REQUIRE(v);
    auto yaml = json::write_yaml(*v);
    CAPTURE(yaml);
    auto back = json::parse_yaml(yaml);
    if (!back)
      FAIL_CHECK(back.error().message);
    else
      CHECK(json::write(*back).size() == json::write(*v).size());
    if (back) CHECK(*back == *v);
  }
}

TEST_CASE("the beginning of a value is that of its text, and takes no longer than it is long") {
  auto v = json::parse(R"({"a":[1,2,{"b":"cdef"}],"g":"\u00e4\u00e4\u00e4\u00e4"})");
  REQUIRE(v);
  const auto whole = json::write(*v);
  CHECK(json::write_beginning(*v, whole.size() + 1) == whole);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    auto some = json::write_beginning(*v, n);
    if (some == whole) continue;
    REQUIRE(some.ends_with("..."));
    some.resize(some.size() - 3);
    if (some.ends_with('"') && !whole.starts_with(some)) some.pop_back();  // of a string that was cut
    CHECK(whole.starts_with(some));
    CHECK(some.size() <= n + 8);
    CHECK(some.size() + 8 >= n);
  }
  json::array many;
  for (int i = 0; i < 1'000'000; ++i) many.emplace_back(i);
  const json::value list(std::move(many));
  // As many bytes as were asked for are there before it is cut: here with the comma.
  for (int i = 0; i < 100'000; ++i) CHECK(json::write_beginning(list, 5) == "[0,1,...");
}
