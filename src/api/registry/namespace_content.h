// namespace_content.h: whether something new may be made in a namespace.
//
// Admission judges by a snapshot; when the write lands the namespace may be ending or gone, by whatever server. So a
// create also carries the revision that its namespace was judged by, and the datastore refuses it in the commit itself
// when that isn't what stands: nothing outlives its namespace, and who ends one sees all that is in it once the end has
// begun.
#pragma once

#include <string>

#include "meta/status.h"
#include "store/store.h"

namespace kedge::api {

// Whether the namespace `ns`, as `home` has it (null: it isn't there), takes the new object; 404 or 403 when not.
api_result<void> takes_content(const store::object_ref& home, const std::string& ns, std::string_view group,
                               std::string_view resource, std::string_view name);

}  // namespace kedge::api
