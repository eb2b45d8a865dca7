// field_path.h: paths to fields in a schema, as rules of custom resources and selectable fields name them:
// ".spec.size",
// "['a.b']".
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "json/value.h"

namespace kedge::api::custom {

struct found_field {
  std::string text;  // as messages spell it: "spec.size"
  const json::value& schema;
};

// Where the path leads from a schema (a JSONSchemaProps), which must outlive what is found; else what is wrong with it,
// in kube-apiserver's words. `quoted`: steps in brackets are allowed.
std::expected<found_field, std::string> find_field(std::string_view path, const json::value& schema,
                                                   bool quoted = true);

}  // namespace kedge::api::custom
