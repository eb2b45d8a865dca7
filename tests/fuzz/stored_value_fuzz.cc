// Values as a database may hold them, hostile ones too: what the store makes of them must be consistent with itself.
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "store/object.h"
#include "store/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge::store;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto layout = find_layout(text);
  auto o = object_access::make("/registry/fuzz/x", text, 42, 41, 0);
  if (layout) {
    kedge_assert(layout->labels + layout->labels_size <= text.size());
    kedge_assert(object_access::logged_text(*o) == text);
    kedge_assert(o->labels_text().size() == layout->labels_size);
    kedge_assert(o->bytes().find("\"resourceVersion\":\"42\"") != std::string_view::npos);
  } else {
    kedge_assert(o->bytes() == text);
  }
  if (auto canonical = canonical_text(text)) {
    auto again = canonical_text(*canonical);
    kedge_assert(again && *again == *canonical);
    kedge_assert(find_layout(*canonical).has_value());
  }
  return 0;
}
