// structure.h: objects walked by their types' topology: which fields are set, what differs, merged, and without some
// fields.
//
// The topology is structured-merge-diff's: structs and granular maps go by field, associative lists by their items'
// keys, sets by value; scalars, atomic lists and atomic maps are leaves.
#pragma once

#include "base/error.h"
#include "json/value.h"
#include "schema/apply/field_set.h"
#include "schema/apply/outline.h"
#include "schema/types.h"

namespace kedge::schema::apply {

// What tells an object's topology: its built-in type, or a custom resource's outline. Either lives longer than its use.
struct topology {
  const type_info* type = nullptr;
  const outline* custom = nullptr;

  topology() noexcept = default;
  topology(const type_info& t) noexcept : type(&t) {}
  topology(const outline& o) noexcept : custom(&o) {}
};

// The fields that `v` sets. errc::invalid, in structured-merge-diff's words, for a field that the type has not
// (`.spec.foo: field not declared in schema`), for a value of another type (`.spec: expected map, got &{x}`), and for
// list items that are twice there.
result<field_set> fields_of(topology shape, const json::value& v);

struct difference {
  field_set added, removed, modified;
};
difference compare(topology shape, const json::value& before, const json::value& after);

// `config` laid over `live`. Items of associative lists take config's order, items only in `live` keep their place.
json::value merge(topology shape, const json::value& live, const json::value& config);

// `v` without the fields in `set` (and what is below them).
json::value without(topology shape, const json::value& v, const field_set& set);

// `set`, with every struct field on the way to a member a member itself.
field_set with_parents(topology shape, const field_set& set);

}  // namespace kedge::schema::apply
