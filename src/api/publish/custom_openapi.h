// custom_openapi.h: OpenAPI of custom resources, as kube-apiserver publishes it: the schemas of their definitions with
// kind, apiVersion and metadata added, and the paths that kubectl looks for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/registry/registry.h"

namespace kedge::api::custom {

// The v3 index with the custom group versions: {"paths":{"apis/ex.io/v1":{"serverRelativeURL":…}}}.
std::string openapi_v3_index(const registry& r, std::string_view version);
// A custom group version's document ("apis/ex.io/v1"); nullopt when there is none.
std::optional<std::string> openapi_v3(const registry& r, std::string_view path, std::string_view version);
// 128 hex digits of what the document is made of; nullopt for paths without custom resources. For "v2" and
// "v2.protobuf": of the whole document when there are any.
std::optional<std::string> openapi_hash(const registry& r, std::string_view path, std::string_view version);

// The built-in resources' v2 document with the custom ones in it.
std::string with_openapi_v2(const registry& r, std::string builtin);
std::string with_openapi_v2_protobuf(const registry& r, std::string builtin, std::string_view version);

}  // namespace kedge::api::custom
