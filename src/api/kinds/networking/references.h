// references.h: what objects of the network name others by: a kind and a name, perhaps of another API group.
#pragma once

#include "meta/validate.h"

namespace kedge::api {

// apiGroup, kind, name.
void check_typed_reference(causes& out, const json::value& reference, const place& at);
// Required, and what may stand in a URL's path.
void check_needed_segment(causes& out, const json::value& parent, const place& at, std::string_view member);

}  // namespace kedge::api
