// patch.h: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386).
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace kedge::json {

// JSON Pointer (RFC 6901): nullptr when nothing is there; errc::invalid for a malformed pointer.
result<const value*> resolve_pointer(const value& document, std::string_view pointer);

// Applies `patch` (an array of operations) to a copy. errc::invalid: not a patch; errc::conflict: a `test` failed or a
// path is missing; errc::too_large: over 10,000 operations or 3 MiB of copies (kube-apiserver's limits).
result<value> apply_json_patch(value document, const value& patch);

// RFC 7386: null removes, objects merge, everything else replaces.
value apply_merge_patch(value document, const value& patch);

}  // namespace kedge::json
