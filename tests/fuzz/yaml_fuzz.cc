// Any bytes as YAML: refused, or read; what we print of it reads back as the same value.
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "json/parse.h"
#include "json/write.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  json::duplicate_list duplicates;
  (void)json::parse_yaml_all(text, {.depth_max = 64, .duplicates = &duplicates});
  auto v = json::parse_yaml(text, {.depth_max = 64});
  if (!v) return 0;
  // Not every byte string survives YAML (yaml-cpp folds invalid UTF-8), but JSON of it must always be JSON.
  kedge_assert(json::parse(json::write(*v)).has_value());
  (void)json::parse_yaml(json::write_yaml(*v));
  return 0;
}
