// stored.h: between an object's value and the text that the store keeps of it.
#pragma once

#include <string>
#include <string_view>

#include "api/registry/registry.h"
#include "json/value.h"
#include "meta/status.h"
#include "store/store.h"

namespace kedge::api {

// The text that is stored: canonical, without resourceVersion.
std::string stored_text(const served& s, json::value& object);
// Whether `text` (as stored_text gives it) is what `object` holds already.
bool same_as_stored(const store::object& object, std::string_view text) noexcept;
// The value of a stored object; a K3s database's damaged one gives an internal error.
api_result<json::value> value_of(const store::object& object);

}  // namespace kedge::api
