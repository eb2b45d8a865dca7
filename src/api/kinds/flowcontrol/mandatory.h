// mandatory.h: the flow control objects without which nothing can be classified: their specs are the server's.
#pragma once

#include <string_view>

#include "meta/validate.h"

namespace kedge::api {

// The spec of the mandatory object of that name, null when there is none. `category`: "flowschemas",
// "prioritylevelconfigurations".
const json::value& mandatory_spec(std::string_view category, std::string_view name);
// Types of a status' conditions: each there, and once.
void check_condition_types(causes& out, const json::value& conditions, const place& at);

}  // namespace kedge::api
