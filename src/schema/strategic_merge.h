// strategic_merge.h: Kubernetes' strategic merge patch, by the table's patchStrategy and patchMergeKey.
#pragma once

#include "base/error.h"
#include "json/value.h"
#include "schema/types.h"

namespace kedge::schema {

// The document as it becomes; neither needs to be normalised, and the result is not (decode it). All directives:
// $patch, $deleteFromPrimitiveList/…, $setElementOrder/…, $retainKeys. Errors (errc::invalid) are worded as
// k8s.io/apimachinery/pkg/util/strategicpatch words them.
result<json::value> strategic_merge(const type_info& type, json::value document, const json::value& patch);

}  // namespace kedge::schema
