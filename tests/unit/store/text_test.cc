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

}  // namespace
}  // namespace kedge::store
