// syntax.h: why a text is no JSON, as Go's decoder says it.
#pragma once

#include <string>
#include <string_view>

namespace kedge::json {

// "invalid character '}' looking for beginning of value", "unexpected end of JSON input"; empty for a document that Go
// reads (which isn't to say that parse() does: Go puts up with text that is no UTF-8).
std::string syntax_problem(std::string_view text);

}  // namespace kedge::json
