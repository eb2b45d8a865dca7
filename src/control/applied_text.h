// applied_text.h: what was applied last, as wrangler's annotation has it: JSON with strings cut short, gzip, base64
// without padding. Old ones are plain JSON.
#pragma once

#include <string>
#include <string_view>

#include "json/value.h"

namespace kedge::control {

inline constexpr std::string_view applied_annotation = "objectset.rio.cattle.io/applied";

std::string to_applied_text(const json::value& object);
// An empty object for what can't be read: then nothing that was applied before is known.
json::value from_applied_text(std::string_view text);

}  // namespace kedge::control
