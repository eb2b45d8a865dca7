// fields.h: the fields of each kind that a field selector may name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/registry.h"
#include "api/selector.h"
#include "store/store.h"

namespace kedge::api {

namespace custom {
struct selectable_field;
}

// Checks every field; 400 for an unknown one. Rewrites aliases (a Pod's spec.host) in place.
api_result<void> check_fields(const served& s, field_selector& selector);

// Where the field of one requirement stands in an object's text.
struct field_place {
  std::string path;                               // dotted, in the stored version
  std::string_view second = {};                   // another one, for when there is nothing
  std::string_view otherwise = {};                // the value when there is nothing there either
  const custom::selectable_field* own = nullptr;  // of a custom resource
  std::string index;                              // by which the store finds objects by it, if it has that one
};
// The value of a field whose place is `path`, as the server shows it: strings as they are, numbers and booleans as JSON
// has them, nothing for anything else. A view of the text, or of `buffer`.
std::string_view field_text(std::string_view object, std::string_view path, std::string& buffer);
// The same of a custom resource's field, as a client of `s` sees it.
std::string_view field_text(const served& s, const custom::selectable_field& field, const store::object& o,
                            std::string& buffer);

// One for each requirement of a checked selector. Found once, used for many objects.
std::vector<field_place> places_of(const served& s, const field_selector& selector);

// Whether all requirements hold for the object, found in its text without making values of it.
bool matches_fields(const served& s, const field_selector& selector, const std::vector<field_place>& places,
                    const store::object& o);

// Whether the selector asks for metadata.name and metadata.namespace only, which the key alone tells.
bool key_decides(const field_selector& selector) noexcept;
bool matches_key(const served& s, const field_selector& selector, std::string_view key) noexcept;

}  // namespace kedge::api
