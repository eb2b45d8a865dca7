// gates.h: fields whose feature gate is off (schema/gated.json).
//
// They are part of the types: nobody who sends one is told that it is unknown, and who applied it owns it. The object
// doesn't keep it.
#pragma once

#include "json/value.h"
#include "schema/types.h"

namespace kedge::schema {

// Takes such fields out of a decoded object of `type`, but those that `old` (null: there is none) uses already:
// somebody had the gate on.
void drop_gated(const type_info& type, json::value& object, const json::value* old);

}  // namespace kedge::schema
