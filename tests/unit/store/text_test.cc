#include "store/text.h"

#include "harness.h"
#include "store/object.h"

namespace kedge::store {
namespace {

TEST_CASE("any JSON object with kind, apiVersion and metadata is brought into the canonical order") {
  struct row {
    const char *in, *out;
  };
  row rows[] = {
      {R"({"apiVersion":"v1","kind":"A","metadata":{"name":"x"},"spec":{}})",
       R"({"kind":"A","apiVersion":"v1","metadata":{"name":"x"},"spec":{}})"},
      {"{ \"metadata\" : { } ,\n\t\"spec\" : [ 1 , \" a b \" ] , \"kind\":\"A\", \"apiVersion\":\"v1\" }\n",
       R"({"kind":"A","apiVersion":"v1","metadata":{},"spec":[1," a b "]})"},
      {R"({"kind":"A","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"x","selfLink":"/y"}})",
       R"({"kind":"A","apiVersion":"v1","metadata":{"name":"x"}})"},
      {R"({"kind":"A","apiVersion":"v1","metadata":{"annotations":{"a":"\"}{\\"}}})",
       R"({"kind":"A","apiVersion":"v1","metadata":{"annotations":{"a":"\"}{\\"}}})"},
  };
  for (auto& r : rows) {
    CAPTURE(r.in);
    auto text = canonical_text(r.in);
    REQUIRE(text.has_value());
    CHECK(*text == r.out);
    CHECK(find_layout(*text).has_value());
    CHECK(canonical_text(*text) == *text);
  }
}

TEST_CASE("what is no such object is refused") {
  for (auto text :
       {"", "{", "{}", "[]", "null", R"({"kind":"A"})", R"({"kind":"A","apiVersion":"v1","metadata":[]})",
        R"({"kind":1,"apiVersion":"v1","metadata":{}})", R"({"kind":"A","apiVersion":"v1","metadata":{})",
        R"({"kind":"A","apiVersion":"v1","metadata":{}}})", R"({"kind":"A","apiVersion":"v1","metadata":{"a":}})",
        R"({"kind":"A","apiVersion":"v1","metadata":{"a)", R"({"kind":"A\)"}) {
    CAPTURE(text);
    CHECK(!canonical_text(text).has_value());
    CHECK(!(find_layout(text).has_value() && is_whole_object(text)));
  }
}

TEST_CASE("resourceVersion goes in first, and labels are found where they moved to") {
  struct row {
    const char *in, *out, *labels;
  };
  row rows[] = {
      {R"({"kind":"A","apiVersion":"v1","metadata":{}})",
       R"({"kind":"A","apiVersion":"v1","metadata":{"resourceVersion":"12"}})", ""},
      {R"({"kind":"A","apiVersion":"v1","metadata":{"name":"x","labels":{"a":"b"},"uid":"u"}})",
       R"({"kind":"A","apiVersion":"v1","metadata":{"resourceVersion":"12","name":"x","labels":{"a":"b"},"uid":"u"}})",
       R"({"a":"b"})"},
      {R"({"kind":"A","apiVersion":"v1","metadata":{"annotations":{"labels":"no"}},"spec":{"labels":{"no":"no"}}})",
       R"({"kind":"A","apiVersion":"v1","metadata":{"resourceVersion":"12","annotations":{"labels":"no"}},"spec":{"labels":{"no":"no"}}})",
       ""},
  };
  for (auto& r : rows) {
    auto o = object_access::make("/registry/as/x", r.in, 12, 3, 0);
    CHECK(o->bytes() == r.out);
    CHECK(o->labels_text() == r.labels);
    CHECK(object_access::logged_text(*o) == r.in);
    CHECK(object_access::with_revision(*o, 123)->bytes().find(R"("resourceVersion":"123")") != std::string_view::npos);
  }
}

TEST_CASE("members and elements are found where they stand, and nowhere else") {
  constexpr std::string_view o =
      R"({"a":{"b":"x","c":[1,{"b":"no"},"s\"t"],"":{"e":null}},"b":"y","n":-1.5e3,"t":true})";
  struct row {
    const char *path, *out;
  };
  const row rows[] = {{"a.b", R"("x")"}, {"b", R"("y")"}, {"a.c", R"([1,{"b":"no"},"s\"t"])"},
                      {"n", "-1.5e3"},   {"t", "true"},   {"a..e", "null"},
                      {"c", ""},         {"a.b.c", ""},   {"a.c.b", ""},
                      {"x", ""},         {"", o.data()}};
  for (auto& r : rows) {
    CAPTURE(r.path);
    CHECK(member_at(o, r.path) == r.out);
  }
  std::vector<std::string> elements;
  each_element(member_at(o, "a.c"), [&](std::string_view e) {
    elements.emplace_back(e);
    return true;
  });
  CHECK(elements == std::vector<std::string>{"1", R"({"b":"no"})", R"("s\"t")"});
  for (auto none : {"[]", "{}", "", "7", "["})
    each_element(none, [&](std::string_view e) { return elements.emplace_back(e), true; });
  CHECK(elements.size() == 3);
  // Whatever is cut off is not found, and nothing behind the end is read.
  for (std::size_t n = 0; n < o.size(); ++n) {
    std::string cut(o.substr(0, n));
    CAPTURE(cut);
    auto found = member_at(cut, "t");
    CHECK((found.empty() || found == std::string_view("true").substr(0, found.size())));
    each_element(cut.substr(std::min<std::size_t>(n, 17)), [](std::string_view) { return true; });
  }
  std::string buffer;
  CHECK(string_in(R"("plain")", buffer) == "plain");
  CHECK(string_in(R"("a\n\"b\u00e9")", buffer) == "a\n\"b\u00e9");
  CHECK(string_in("17", buffer) == "17");
  CHECK(string_in("", buffer) == "");
}

// What is_whole_object must say, byte by byte. (A backslash outside of strings is no JSON; it may be taken for an
// escape.)
bool whole(std::string_view t) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < t.size(); ++i) {
    if (t[i] == '\\') {
      i += t.substr(i + 1).starts_with('"') || t.substr(i + 1).starts_with('\\');
    } else if (in_string) {
      if (t[i] == '"') in_string = false;
    } else if (t[i] == '"') {
      in_string = true;
    } else if (t[i] == '{' || t[i] == '[') {
      ++depth;
    } else if (t[i] == '}' || t[i] == ']') {
      if (--depth == 0) return i + 1 == t.size();
    }
  }
  return false;
}

TEST_CASE("ends are found wherever strings, escapes and brackets fall into blocks") {
  seeded_random random(11);
  constexpr std::string_view letters = "{}[]\"\"\\\\ab,:";
  int found = 0;
  for (int n = 0; n < 200'000; ++n) {
    // Runs of one letter, so that escapes and strings cross the blocks' borders in all ways.
    std::string t = "{";
    for (auto wanted = random.below(200); t.size() < wanted;)
      t.append(1 + random.below(random.below(8) ? 3 : 70), letters[random.below(letters.size())]);
    if (random.below(4)) t += '"';
    t.append(random.below(4), '}');
    bool expected = whole(t);
    found += expected;
    if (is_whole_object(t) != expected) FAIL_CHECK(t);
  }
  CHECK(found > 1000);
  CHECK(is_whole_object(std::string(5'000, '{') + std::string(5'000, '}')));
  CHECK(!is_whole_object(std::string(20'000, '{') + std::string(20'000, '}')));
}

}  // namespace
}  // namespace kedge::store
