// field_text.h: the value of one field, found in an object's text.
#pragma once

#include <string>
#include <string_view>

namespace kedge::api {

// The value of a field whose place is `path`, as the server shows it: strings as they are, numbers and booleans as JSON
// has them, nothing for anything else. A view of the text, or of `buffer`.
std::string_view field_text(std::string_view object, std::string_view path, std::string& buffer);

}  // namespace kedge::api
