// fields.h: the fields of each kind that a field selector may name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/registry/registry.h"
#include "meta/selector.h"
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
// One for each requirement of a checked selector. Found once, used for many objects.
std::vector<field_place> places_of(const served& s, const field_selector& selector);

// Whether all requirements hold for the object, found in its text without making values of it.
bool matches_fields(const served& s, const field_selector& selector, const std::vector<field_place>& places,
                    const store::object& o);

// Whether the selector asks for metadata.name and metadata.namespace only, which the key alone tells.
bool key_decides(const field_selector& selector) noexcept;
bool matches_key(const served& s, const field_selector& selector, std::string_view key) noexcept;

}  // namespace kedge::api
