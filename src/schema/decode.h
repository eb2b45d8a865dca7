// decode.h: a JSON value becomes an object of a type, as Go's decoder and encoder would leave it.
//
//   value as parsed ──▶ check every field against the table ──▶ value as kube-apiserver would print the Go struct
//
// Afterwards fields stand in declaration order and map keys are sorted; unknown fields are gone; null and (for fields
// with omitempty) empty values are gone; structs that are no pointers are there, if empty; scalars with a form of their
// own are canonical ("1000m" → "1", times in UTC). So equal objects have equal bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"
#include "schema/types.h"

namespace kedge::schema {

// Paths as Kubernetes spells them: `spec.containers[0].foo`; to show one: unknown field "…". At most
// unknown_fields_max.
using unknown_list = std::vector<std::string>;

// Decodes `v` in place. A value of a wrong type is errc::invalid with Go's text, the first in document order:
// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`. `v` is then partly
// converted: drop it. `unknown` may be null.
result<void> decode(const type_info& type, json::value& v, unknown_list* unknown = nullptr);

// The same for a value that the server itself changed: brings it back to canonical form. What has a wrong type stays.
// `as_stored`: as it comes back from a database of protobuf, which doesn't tell an empty list from none (`rules: []` →
// `rules: null`).
void normalise(const type_info& type, json::value& v, bool as_stored = false);

// Canonical form of a quantity; errc::invalid with Kubernetes' text for what is none.
result<std::string> canonical_quantity(std::string_view text);

}  // namespace kedge::schema
