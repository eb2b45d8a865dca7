// structure.h: objects walked by their types' topology: which fields are set, what differs, merged, and without some fields.
//
// The topology is structured-merge-diff's: structs and granular maps go by field, associative lists by their items' keys, sets
// by value; scalars, atomic lists and atomic maps are leaves.
#pragma once

#include "base/error.h"
#include "json/value.h"
#include "schema/apply/field_set.h"
#include "schema/types.h"

namespace kedge::schema::apply {

// The fields that `v` sets. errc::invalid for a field that the type has not (`.spec.foo: field not declared in schema`) or of
// another structure (`.spec: expected map, got …`), and for list items without their keys or twice there.
result<field_set> fields_of(const type_info& type, const json::value& v);

struct difference {
  field_set added, removed, modified;
};
difference compare(const type_info& type, const json::value& before, const json::value& after);

// `config` laid over `live`. Items of associative lists take config's order, items only in `live` keep their place.
json::value merge(const type_info& type, const json::value& live, const json::value& config);

// `v` without the fields in `set` (and what is below them).
json::value without(const type_info& type, const json::value& v, const field_set& set);

// `set`, with every struct field on the way to a member a member itself.
field_set with_parents(const type_info& type, const field_set& set);

}  // namespace kedge::schema::apply
