// tables.h: the generated tables' declarations; only for this folder's .cc files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "schema/bootstrap.h"
#include "schema/resources.h"
#include "schema/types.h"

namespace kedge::schema::tables {

struct kind_row {
  std::uint32_t api_version, kind;
  std::uint16_t type;
};
// What people are told of a type or field: its place in the table of these, in order.
struct description_row {
  std::uint32_t of, text;
};
struct column_row {
  std::uint32_t name, type, format, description;
  int priority;
};
struct subresource_row {
  std::uint32_t name, group, version, kind;
  std::uint32_t verbs_first, verbs_count;
};

extern const char pool[];
extern const std::uint32_t strings[];
extern const field_info fields[];
extern const type_info types[];
extern const std::uint16_t flat_fields[];
extern const std::uint8_t hash_slots[];
extern const std::uint8_t wire_positions[];
extern const kind_row kinds[];
extern const resource_info resources[];
extern const description_row type_descriptions[], field_descriptions[];
extern const column_row columns[];
extern const subresource_row subresources[];
extern const bootstrap_category bootstrap[];
extern const char fingerprint[];  // of the facts and of the code that makes OpenAPI of them
extern const std::size_t type_count, kind_count, resource_count, bootstrap_count, type_description_count,
    field_description_count;

// A string of the pool by its offset: two bytes before it hold its length.
inline std::string_view text(std::uint32_t offset) noexcept {
  auto p = pool + offset;
  auto byte = [&](int i) { return static_cast<std::size_t>(static_cast<unsigned char>(p[i])); };
  return {p, byte(-2) | byte(-1) << 8};
}

}  // namespace kedge::schema::tables
