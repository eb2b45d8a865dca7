// custom_schema_fuzz.cc: a custom resource's schema and an object, one line each: what holds whatever they are. Each
// line is read as a JSON path as well.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "api/custom/json_path.h"
#include "api/custom/structural.h"
#include "base/assert.h"
#include "json/parse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto line = text.find('\n');
  if (line == text.npos) return 0;
  auto schema_text = text.substr(0, line), object_text = text.substr(line + 1);
  auto object = json::parse(object_text);
  if (auto path = api::custom::json_path::parse(schema_text); path && object) (void)path->first(*object);
  auto schema = json::parse(schema_text);
  if (!schema || !object) return 0;
  api::causes wrong;
  api::custom::check_schema(wrong, *schema, "s");
  auto compiled = api::custom::structural::compile(*schema);

  std::vector<std::string> unknown, again;
  compiled.prune(*object, &unknown);
  compiled.prune(*object, &again);
  kedge_assert(again.empty());

  compiled.apply_defaults(*object);
  auto twice = *object;
  compiled.apply_defaults(twice);
  kedge_assert(twice == *object);

  api::causes alone, unchanged;
  compiled.validate(alone, *object, nullptr);
  compiled.validate(unchanged, *object, &twice);
  kedge_assert(unchanged.empty());
  return 0;
}
