// body.h: a request's body becomes a decoded, defaulted object of the version that the URL names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/registry/registry.h"
#include "api/request/negotiate.h"
#include "api/request/request.h"
#include "json/parse.h"

namespace kedge::api {

// What the body must be: the resource's own kind, or a subresource's (Scale, Binding, DeleteOptions).
struct expected_body {
  std::string_view api_version, kind;
  const schema::type_info* type = nullptr;
  const served* custom = nullptr;  // a custom resource: its schema instead of a type
};
expected_body own_body(const served& s);

// Text to value, by format; findings of duplicates go to `duplicates`. 400 when it can't be parsed.
api_result<json::value> parse_body(std::string_view text, wire format, const expected_body& what,
                                   json::duplicate_list* duplicates);

// Checks apiVersion and kind (absent ones are filled in), decodes by the schema, handles unknown and duplicate fields
// as `validation` says (Warning texts go to `warnings`). `for_patch`: strict findings are 422 on `patch`.
api_result<json::value> decode_body(json::value v, const expected_body& what, field_validation validation,
                                    json::duplicate_list duplicates, std::vector<std::string>& warnings,
                                    bool for_patch = false);

// Both, and defaults.
api_result<json::value> read_object(std::string_view text, wire format, const expected_body& what,
                                    field_validation validation, std::vector<std::string>& warnings);

}  // namespace kedge::api
