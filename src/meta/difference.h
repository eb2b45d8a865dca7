// difference.h: what differs between two objects, as refusals of a change show it: the lines of both with three around
// each change
// ("@@ -1,6 +1,6 @@ …"), found as Python's difflib finds them, which kube-apiserver does, too.
#pragma once

#include <string>

#include "json/value.h"

namespace kedge::api {

// Empty when nothing differs, or when both are too large to be compared (limits.h).
std::string difference_text(const json::value& before, const json::value& after);

}  // namespace kedge::api
