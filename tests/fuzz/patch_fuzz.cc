// Two JSON texts separated by a zero byte: a document, and a patch of either kind.
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "json/parse.h"
#include "json/patch.h"
#include "json/write.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto middle = text.find('\0');
  if (middle == std::string_view::npos) return 0;
  auto document = json::parse(text.substr(0, middle));
  auto patch = json::parse(text.substr(middle + 1));
  if (!document || !patch) return 0;
  auto merged = json::apply_merge_patch(*document, *patch);
  kedge_assert(json::apply_merge_patch(merged, *patch) == merged);  // a merge patch is idempotent
  if (auto patched = json::apply_json_patch(*std::move(document), *patch))
    kedge_assert(json::parse(json::write(*patched)).has_value());
  return 0;
}
