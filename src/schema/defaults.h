// defaults.h: what a kind fills in where the user said nothing.
#pragma once

#include "json/value.h"
#include "schema/types.h"

namespace kedge::schema {

// Fills defaults into a decoded object of `type`: the table's, and the kind's own
// (k8s.io/kubernetes/pkg/apis/*/defaults.go of 1.37, one file a group in defaults/). Idempotent; what is there is never
// changed. The object needs no apiVersion or kind. Lists are defaulted item by item.
void apply_defaults(const type_info& type, json::value& object);

}  // namespace kedge::schema
