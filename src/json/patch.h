// patch.h: JSON Patch (RFC 6902, with the liberties of github.com/evanphx/json-patch) and JSON Merge Patch (RFC 7386).
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace kedge::json {

// Applies `patch` (an array of operations) to a copy, as kube-apiserver does. errc::invalid: not a patch;
// errc::conflict: a `test` failed, a path is missing, or copies of over 3 MiB were made; errc::too_large: over 10,000
// operations.
result<value> apply_json_patch(value document, const value& patch);

// RFC 7386: null removes, objects merge, everything else replaces.
value apply_merge_patch(value document, const value& patch);

}  // namespace kedge::json
