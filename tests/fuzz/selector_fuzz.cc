// selector_fuzz.cc: label and field selectors of queries: what is accepted means the same when it is written and read
// again.
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "meta/selector.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const json::value labels = json::object{{"app", "web"}, {"tier", "front"}, {"n", "7"}, {"a/b", ""}};
  constexpr std::string_view labels_text = R"({"app":"web","tier":"front","n":"7","a/b":""})";
  if (auto s = api::label_selector::parse(text)) {
    const bool matches = s->matches(labels);
    kedge_assert(matches == s->matches_text(labels_text));
    auto again = api::label_selector::parse(s->text());
    kedge_assert(again && again->text() == s->text());
    kedge_assert(again->matches(labels) == matches);
    (void)s->matches_text("");
  }
  if (auto f = api::field_selector::parse(text))
    for (const auto& r : f->requirements()) (void)f->exact(r.field);
  return 0;
}
