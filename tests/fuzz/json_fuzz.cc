// Any bytes as JSON: refused, or read, written, and read back as the same value.
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "json/parse.h"
#include "json/write.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  json::duplicate_list duplicates;
  auto v = json::parse({reinterpret_cast<const char*>(data), size}, {.duplicates = &duplicates});
  if (!v) return 0;
  auto back = json::parse(json::write(*v));
  kedge_assert(back && *back == *v);
  kedge_assert(json::write(*back) == json::write(*v));
  return 0;
}
