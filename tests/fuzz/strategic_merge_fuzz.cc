// strategic_merge_fuzz.cc: the first byte chooses a kind; then two JSON texts separated by a zero byte, a document and
// a patch.
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/strategic_merge.h"
#include "schema/types.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  if (size == 0) return 0;
  const auto kind = schema::kind_at(data[0] % schema::kind_count());
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto middle = text.find('\0');
  if (middle == std::string_view::npos) return 0;
  const auto document = json::parse(text.substr(0, middle));
  const auto patch = json::parse(text.substr(middle + 1));
  if (!document || !patch) return 0;
  if (auto merged = schema::strategic_merge(*kind.type, *document, *patch))
    kedge_assert(json::parse(json::write(*merged), {.depth_max = 4096}).has_value());
  // Nothing to change changes nothing.
  if (auto same = schema::strategic_merge(*kind.type, *document, json::object{}); same && document->is_object())
    kedge_assert(*same == *document);
  return 0;
}
