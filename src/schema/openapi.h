// openapi.h: the OpenAPI documents of the built-in resources, made from the tables when asked for.
//
// A document is 50 KB to 1 MB of JSON; none is kept here (the caller may cache, with a bound).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::schema {

// The paths of the v3 index: "api/v1", "apis/apps/v1", …, sorted.
std::vector<std::string> openapi_v3_paths();
// The document of one of them; errc::not_found for others. `version`: info.version ("v1.37.2").
result<std::string> openapi_v3(std::string_view path, std::string_view version);
// 128 hex digits, as the index's `hash` and the ETag: another one whenever the document is another.
std::string openapi_hash(std::string_view path, std::string_view version);
// {"paths":{"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=…"}}}
std::string openapi_v3_index(std::string_view version);

// Swagger 2.0 with all definitions and paths.
std::string openapi_v2(std::string_view version);
// The same as gnostic's Document message.
std::string openapi_v2_protobuf(std::string_view version);

}  // namespace kedge::schema
