// outline.h: the topology of custom resources, from their OpenAPI schema: what structure.h walks where no built-in type
// tells it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "json/value.h"
#include "schema/types.h"

namespace kedge::schema::apply {

// One level. Immutable once made; may be used from every core.
struct outline {
  // deduced: maps go by field and all else is a leaf, as the values are (x-kubernetes-preserve-unknown-fields).
  enum class form : unsigned char { leaf, structure, map, keyed_list, set_list, deduced, builtin };

  outline();
  outline(outline&&) noexcept;
  outline& operator=(outline&&) noexcept;
  ~outline();

  form kind = form::leaf;
  base_type base = base_type::any_json;                   // of a leaf: what it must be
  bool is_list = false;                                   // of a leaf: an atomic list
  bool open = false;                                      // of a structure: fields that it doesn't name are deduced
  const type_info* type = nullptr;                        // of builtin: metadata
  std::vector<std::pair<std::string, outline>> members;   // of a structure, by name
  std::unique_ptr<outline> element;                       // of a map's values, of a list's items
  std::vector<std::pair<std::string, json::value>> keys;  // of keyed_list, by name, with their defaults (or null)

  const outline* find(std::string_view name) const noexcept;
};

// `schema`: a CRD version's openAPIV3Schema; null when it has none.
outline outline_of(const json::value& schema);

}  // namespace kedge::schema::apply
