// value.h: what expressions work on when they run.
//
// A value is 24 bytes and is copied freely; what doesn't fit (text, elements) is borrowed: from the program's
// constants, from the JSON document it was given, or from the arena of the evaluation. So a value is good for as long
// as all three. JSON is not converted: lists and maps of a document stay there and are read as they are asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/strings.h"
#include "cel/arena.h"
#include "cel/type.h"
#include "json/value.h"

namespace kedge::cel {

enum class kind : std::uint8_t {
  absent,  // a variable that has no value
  null,
  boolean,
  integer,
  unsigned_integer,
  real,
  string,
  bytes,
  duration,
  timestamp,
  list,
  map,
  type,
  optional,
  opaque,  // also objects that a host knows: see opaque below
  error,
};

class value;
class opaque;
struct list_data;
struct map_data;

// How JSON is to be read where it doesn't say so itself, by a schema. Immutable, shared by cores; whoever made it keeps
// it for as long as values that were made with it. Without a shape JSON is what it looks like.
struct shape {
  enum class form : std::uint8_t {
    plain,      // as it looks
    real,       // numbers are doubles, whole ones too
    duration,   // text of the wall clock's kind: "1h30m", format `duration`
    date,       // text, format `date`
    date_time,  // text, format `date-time`
    bytes,      // base64, format `byte`
    list,
    map,     // any member, by name
    object,  // the fields below and no others
    loose,   // whatever it is, all the way down: numbers are doubles, members may have other names in expressions
  };
  enum class list_kind : std::uint8_t { atomic, set, map };
  form as = form::plain;
  list_kind list = list_kind::atomic;  // sets and maps are equal in any order
  std::vector<std::string> keys;       // of a list that is a map: names of members of its elements
  const shape* items = nullptr;        // of a list's elements, of a map's values
  struct field {
    std::string name;  // in the document
    const shape* of = nullptr;
  };
  std::unordered_map<std::string, field, string_hash, std::equal_to<>> fields;  // by the name that expressions use
  std::string type_name;                                                        // of an object
  // Of loose ones: the member that a name in an expression stands for, or nothing. Null: its own.
  std::optional<std::string> (*member)(std::string_view name) = nullptr;
};

// Values of types that only some functions know, and objects whose fields a host gives when asked (lazily, say). Lives
// in an arena, or longer.
class opaque {
 public:
  virtual ~opaque() = default;
  virtual const cel::type& type() const = 0;
  virtual bool equals(const opaque& other) const = 0;
  // What size costs are reckoned with.
  virtual std::optional<std::uint64_t> size() const { return std::nullopt; }
  // Fields. `field` of what isn't there: an absent value; what fails: an error value.
  virtual bool has_fields() const { return false; }
  virtual bool has_field(std::string_view) const { return false; }
  virtual value field(std::string_view name, arena& memory) const;
  // As JSON (a message that an expression made), or nothing.
  virtual std::optional<json::value> json() const { return std::nullopt; }
};

class value {
 public:
  value() noexcept = default;  // absent
  static value null() noexcept;
  static value boolean(bool b) noexcept;
  static value integer(std::int64_t n) noexcept;
  static value unsigned_integer(std::uint64_t n) noexcept;
  static value real(double d) noexcept;
  static value string(std::string_view borrowed) noexcept;
  static value bytes(std::string_view borrowed) noexcept;
  static value duration(std::int64_t nanoseconds) noexcept;
  // Seconds since 1970 and 0 … 999,999,999 nanoseconds. The offset from UTC, in seconds, is part of its text alone.
  static value timestamp(std::int64_t seconds, std::uint32_t nanoseconds, std::int32_t offset = 0) noexcept;
  static value type(const cel::type& borrowed) noexcept;
  static value none() noexcept;  // the optional without a value
  static value some(arena& memory, const value& v);
  static value opaque(const cel::opaque* o) noexcept;
  static value error(arena& memory, std::string_view message);
  // A document, or a part of one. Both are borrowed.
  static value json(const json::value& v, const cel::shape* s, arena& memory);
  static value json(const json::value& v) noexcept;  // as it looks
  static value list(arena& memory, std::span<const value> items);
  // Of keys that are not there twice.
  static value map(arena& memory, std::span<const std::pair<value, value>> entries);

  cel::kind kind() const noexcept { return kind_; }
  bool is(cel::kind k) const noexcept { return kind_ == k; }
  bool is_error() const noexcept { return kind_ == cel::kind::error; }
  bool is_true() const noexcept { return kind_ == cel::kind::boolean && boolean_; }
  bool is_false() const noexcept { return kind_ == cel::kind::boolean && !boolean_; }

  // The content; each only for its kind.
  bool as_bool() const noexcept { return boolean_; }
  std::int64_t as_integer() const noexcept { return integer_; }
  std::uint64_t as_unsigned() const noexcept { return unsigned_; }
  double as_real() const noexcept { return real_; }
  std::string_view as_text() const noexcept { return {text_, size_}; }  // of string, bytes, error
  std::int64_t as_nanoseconds() const noexcept { return integer_; }     // of a duration
  std::int64_t seconds() const noexcept { return integer_; }            // of a timestamp
  std::uint32_t nanoseconds() const noexcept { return size_; }
  std::int32_t offset() const noexcept { return offset_; }
  const cel::type& as_type() const noexcept { return *type_; }
  const cel::opaque& as_opaque() const noexcept { return *opaque_; }
  // Of an optional: what it holds, null pointer for none.
  const value* held() const noexcept { return held_; }

  // Of lists, maps, strings (characters), bytes and sized opaque values.
  std::optional<std::uint64_t> size() const noexcept;
  // Of a list: i < size.
  value at(std::size_t i, arena& memory) const;
  // Of a map or an object: absent when it isn't there.
  value find(const value& key, arena& memory) const;
  value find(std::string_view key, arena& memory) const;
  // Whether a map or an object's field is there; no value is made.
  bool has(std::string_view key) const noexcept;
  // Of a map: the i-th entry in its order.
  value key_at(std::size_t i, arena& memory) const;
  value value_at(std::size_t i, arena& memory) const;
  // Lists: this one with an element more. Cheap when this is the newest of its kind (the accumulator of a fold).
  value with(const value& item, arena& memory) const;
  value with(const value& key, const value& v, arena& memory) const;

  // The JSON behind it, when it is a list or a map of a document.
  const json::value* document() const noexcept { return from_json_ ? json_ : nullptr; }
  const cel::shape* shape() const noexcept { return from_json_ ? shape_ : nullptr; }

  // What type() gives.
  const cel::type& runtime_type() const noexcept;

 private:
  friend struct value_parts;
  cel::kind kind_ = cel::kind::absent;
  bool from_json_ = false;
  std::uint32_t size_ = 0;
  union {
    bool boolean_;
    std::int64_t integer_ = 0;
    std::uint64_t unsigned_;
    double real_;
    const char* text_;
    const cel::type* type_;
    const value* held_;
    const cel::opaque* opaque_;
    const json::value* json_;
    const value* items_;
    map_data* map_;
  };
  union {
    const cel::shape* shape_ = nullptr;
    list_data* grows_;
    std::int32_t offset_;
  };
};

// The error that ends an evaluation because something would grow too large.
value too_large(arena& memory);

// CEL's equality: numbers by their value whatever their kind, false between kinds that never are equal.
bool equal(const value& a, const value& b, arena& memory, int depth = 0);
// -1, 0, 1; nothing when the two can't be ordered (and for NaN).
std::optional<int> compare(const value& a, const value& b) noexcept;

// As a JSON document, for messages, patches and audit annotations: fails for what JSON can't hold. Timestamps,
// durations and bytes become text as in protobuf's JSON.
std::optional<json::value> to_json(const value& v, arena& memory, int depth = 0);

// As error messages tell it: text as it is, numbers, nothing of what lists hold.
std::string text_of(const value& v);

// The kind as error messages name it: "int", "map", "optional_type".
std::string_view kind_text(const value& v) noexcept;

}  // namespace kedge::cel
