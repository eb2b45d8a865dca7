// json_schema.h: a built-in type as a JSON schema without references: what expressions about its objects are checked
// by.
#pragma once

#include "json/value.h"
#include "schema/types.h"

namespace kedge::schema {

// Types that hold themselves, and what is deeper than `depth_max`, are open: any member of any type.
json::value json_schema(const type_info& type, int depth_max = 16);

}  // namespace kedge::schema
