// utf8.h: whether bytes are text. What isn't can be written, but not read again by a parser of JSON.
#pragma once

#include <string_view>

namespace kedge::json {

bool is_utf8(std::string_view bytes) noexcept;

}  // namespace kedge::json
