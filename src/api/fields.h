// fields.h: the fields of each kind that a field selector may name.
#pragma once

#include <string>
#include <string_view>

#include "api/registry.h"
#include "api/selector.h"

namespace kedge::api {

// Checks every field; 400 for an unknown one. Rewrites aliases (a Pod's spec.host) in place.
api_result<void> check_fields(const served& s, field_selector& selector);

// Whether all requirements hold. `object` in the stored version.
bool matches_fields(const served& s, const field_selector& selector, const json::value& object);

// Whether the selector asks for metadata.name and metadata.namespace only, which the key alone tells.
bool key_decides(const field_selector& selector) noexcept;
bool matches_key(const served& s, const field_selector& selector, std::string_view key) noexcept;

}  // namespace kedge::api
