// imported.h: objects that another server has written into the database.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace kedge::api {

// The text that is stored of one: what was filled in later than its writer knew is filled in, and all is in canonical
// form. errc::unsupported for a kind that isn't served; `key` is for that message.
result<std::string> imported_text(std::string_view key, json::value object);

}  // namespace kedge::api
