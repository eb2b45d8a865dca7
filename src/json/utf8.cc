#include "json/utf8.h"

#include <simdjson.h>

namespace kedge::json {

bool is_utf8(std::string_view bytes) noexcept { return simdjson::validate_utf8(bytes); }

}  // namespace kedge::json
