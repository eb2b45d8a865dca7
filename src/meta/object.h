// object.h: what every object has, out of its value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"

namespace kedge::api {

// metadata.name and so on, empty when absent.
std::string_view name_of(const json::value& object) noexcept;
std::string_view namespace_of(const json::value& object) noexcept;
std::string_view uid_of(const json::value& object) noexcept;
std::string_view annotation_of(const json::value& object, std::string_view name) noexcept;
// Whether the annotation is there at all (it may be empty).
bool has_annotation(const json::value& object, std::string_view name) noexcept;

// The texts of an array of strings.
std::vector<std::string> string_list(const json::value& array);

}  // namespace kedge::api
