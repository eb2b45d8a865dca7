// types.h: the built-in kinds' types and their fields, from schema/types.json.
//
// The tables are constant data without a single pointer in them: nothing is built, relocated or allocated at start, and
// only the pages that are asked for are read from the file. All functions may be called from any core; every view and
// pointer they give lives forever.
//
//   find_kind("apps/v1", "Deployment") ──▶ type_info ── find("spec") ──▶ field_info ── type() ──▶ type_info …
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace kedge::schema {

class type_info;

// What a field's value is, arrays and maps apart. From `quantity` on: types with a JSON and protobuf form of their own.
enum class base_type : std::uint8_t {
  structure,
  string,
  boolean,
  int32,
  int64,
  float64,
  bytes,       // base64 in JSON
  quantity,    // "500m"
  time,        // RFC 3339, seconds, UTC
  micro_time,  // RFC 3339, 6 digits, UTC
  int_or_string,
  raw_extension,      // any JSON value, kept as it is
  fields_v1,          // the same; managedFields
  any_json,           // apiextensions JSON
  schema_or_array,    // JSONSchemaProps, or an array of them
  schema_or_bool,     // …, or a boolean
  schema_or_strings,  // …, or an array of strings
};

enum class shape : std::uint8_t { single, array, map, map_of_arrays };
enum class list_type : std::uint8_t { unset, atomic, map, set };
enum class map_type : std::uint8_t { unset, atomic, granular };

// A list of constant strings; iterate or index.
class string_list {
 public:
  constexpr string_list() = default;
  constexpr string_list(std::uint32_t first, std::uint32_t count) : first_(first), count_(count) {}
  std::size_t size() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  std::string_view operator[](std::size_t i) const noexcept;
  bool contains(std::string_view text) const noexcept;

  struct iterator {
    const string_list* list;
    std::size_t i;
    std::string_view operator*() const noexcept { return (*list)[i]; }
    iterator& operator++() noexcept {
      ++i;
      return *this;
    }
    bool operator!=(const iterator& o) const noexcept { return i != o.i; }
  };
  iterator begin() const noexcept { return {this, 0}; }
  iterator end() const noexcept { return {this, count_}; }

 private:
  std::uint32_t first_ = 0, count_ = 0;
};

class field_info {
 public:
  // Empty for an inline (embedded) struct, whose fields stand in the JSON object of its owner.
  std::string_view name() const noexcept;
  base_type base() const noexcept { return base_; }
  schema::shape shape() const noexcept { return shape_; }
  bool is_single() const noexcept { return shape_ == schema::shape::single; }
  bool is_array() const noexcept { return shape_ == schema::shape::array; }
  bool is_map() const noexcept { return shape_ == schema::shape::map || shape_ == schema::shape::map_of_arrays; }
  // The struct behind a field of base_type::structure (and JSONSchemaProps for schema_or_*); nullptr for scalars.
  const type_info* type() const noexcept;
  int proto() const noexcept { return proto_; }  // field number; 0: not part of the message (TypeMeta)
  // The field's own message wraps the array: {repeated items = 1} (Verbs).
  bool wrapped_items() const noexcept { return flags_ & 0x40; }

  bool required() const noexcept { return flags_ & 1; }
  bool omitempty() const noexcept { return flags_ & 2; }
  bool pointer() const noexcept { return flags_ & 4; }
  bool is_inline() const noexcept { return flags_ & 8; }
  bool omitzero() const noexcept { return flags_ & 0x80; }
  // Its feature gate is off; see gates.h. With the owner: a struct of which nothing else is left goes, too.
  bool gated() const noexcept { return flags_ & 0x200; }
  bool gated_with_owner() const noexcept { return flags_ & 0x400; }

  // Strategic merge: `merge` and `retainKeys` may both be set; without either the field is replaced (or merged, when it
  // is an object).
  bool patch_merge() const noexcept { return flags_ & 0x10; }
  bool patch_retain_keys() const noexcept { return flags_ & 0x20; }
  bool patch_replace() const noexcept { return flags_ & 0x100; }
  std::string_view patch_merge_key() const noexcept;

  // Server-side apply's topology.
  schema::list_type list_type() const noexcept { return list_type_; }
  string_list list_map_keys() const noexcept { return {keys_first_, keys_count_}; }
  schema::map_type map_type() const noexcept { return map_type_; }

  // The default that OpenAPI carries, as JSON text; empty when there is none. `{}` is not a default here: a struct that
  // is no pointer is always there.
  std::string_view default_json() const noexcept;
  string_list enum_values() const noexcept { return {enum_first_, enum_count_}; }

  // As Go's messages spell the type: int32, []v1.Container, map[string]string. Of an element: int32, v1.Container.
  // (In decode.cc, where the messages are.)

  // One row of the generated table; see schema/embed.py.
  std::uint32_t name_;
  std::uint16_t type_;  // index of the type, 0xffff: none
  std::uint16_t proto_;
  std::uint16_t flags_;
  base_type base_;
  schema::shape shape_;
  schema::list_type list_type_;
  schema::map_type map_type_;
  std::uint8_t keys_count_;
  std::uint8_t enum_count_;
  std::uint16_t keys_first_;
  std::uint16_t enum_first_;
  std::uint32_t merge_key_;
  std::uint32_t default_;
};

class type_info {
 public:
  std::string_view name() const noexcept;     // "core/v1.PodSpec"
  std::string_view go_name() const noexcept;  // "PodSpec"
  // Nonzero for the scalar types and for apiextensions' unions; they have no fields here.
  base_type base() const noexcept { return base_; }
  schema::map_type map_type() const noexcept { return map_type_; }

  // As declared, embedded structs as one field.
  std::span<const field_info> fields() const noexcept;
  // The fields of the JSON object in declaration order, embedded structs replaced by their fields.
  std::size_t size() const noexcept { return flat_count_; }
  const field_info& field(std::size_t i) const noexcept;
  // By JSON name, case-sensitive; nullptr when there is none. One hash and one comparison.
  const field_info* find(std::string_view name) const noexcept;
  // The same as a position for field(); -1 when there is none.
  int position(std::string_view name) const noexcept;
  // Positions in fields(), by ascending protobuf number.
  std::span<const std::uint8_t> wire_order() const noexcept;
  const field_info* find_wire(int number) const noexcept;

  std::uint32_t name_;
  std::uint32_t hash_first_;
  std::uint16_t fields_first_, fields_count_;
  std::uint16_t flat_first_, flat_count_;
  std::uint16_t seed_;
  std::uint16_t wire_first_;
  std::uint8_t wire_count_;
  std::uint8_t hash_bits_;
  base_type base_;
  schema::map_type map_type_;
};

// "v1" + "Pod"; nullptr for a kind that is not built in.
const type_info* find_kind(std::string_view api_version, std::string_view kind) noexcept;
// "core/v1.PodSpec"
const type_info* find_type(std::string_view name) noexcept;
std::span<const type_info> all_types() noexcept;

struct kind_info {
  std::string_view api_version, kind;
  const type_info* type;
};
std::size_t kind_count() noexcept;
kind_info kind_at(std::size_t i) noexcept;  // sorted by api_version, kind
// Its apiVersion and kind when the type is a kind's (of several, the first), else empty.
kind_info kind_of(const type_info& type) noexcept;

// The parts of "apps/v1"; the core group is "".
struct group_version {
  std::string_view group, version;
};
group_version split_api_version(std::string_view api_version) noexcept;

}  // namespace kedge::schema
