#include "cel/value.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "base/time.h"
#include "cel/default_map.h"
#include "cel/literals.h"
#include "cel/utf8.h"

namespace kedge::cel {

// The elements of a list that grows: values refer to its beginning and their own number of elements, so that a list and
// the same with one more share the space.
struct list_data {
  value* items = nullptr;
  std::uint32_t size = 0, capacity = 0;
};

// Likewise for maps. `index` (when there are many) is an open table of positions + 1.
struct map_data {
  value* keys = nullptr;
  value* values = nullptr;
  std::uint32_t size = 0, capacity = 0;
  std::uint32_t* index = nullptr;
  std::uint32_t index_size = 0;
  const value* otherwise = nullptr;  // what keys find that aren't there
};

namespace {

constexpr std::uint32_t indexed_from = 16;

std::size_t hash_number(double d) noexcept { return std::hash<double>{}(d == 0 ? 0 : d); }

// Equal values have equal hashes; only what may be a key, and what sets hold.
std::size_t hash_of(const value& v, arena& memory, int depth = 0) {
  memory.compared();
  switch (v.kind()) {
    case kind::boolean: return v.as_bool() ? 1 : 2;
    case kind::integer: return hash_number(static_cast<double>(v.as_integer()));
    case kind::unsigned_integer: return hash_number(static_cast<double>(v.as_unsigned()));
    case kind::real: return hash_number(v.as_real());
    case kind::string:
    case kind::bytes: return std::hash<std::string_view>{}(v.as_text());
    case kind::list: {
      if (depth > value_depth_max) return 3;
      std::size_t h = 5;
      for (std::size_t i = 0, n = *v.size(); i < n; ++i) h = h * 31 + hash_of(v.at(i, memory), memory, depth + 1);
      return h;
    }
    case kind::map: {
      if (depth > value_depth_max) return 3;
      std::size_t h = 7;
      for (std::size_t i = 0, n = *v.size(); i < n; ++i)
        h += hash_of(v.key_at(i, memory), memory, depth + 1) * 31 + hash_of(v.value_at(i, memory), memory, depth + 1);
      return h;
    }
    default: return 4;
  }
}

void put_in_index(map_data& m, std::uint32_t position, arena& memory) {
  std::size_t at = hash_of(m.keys[position], memory) & (m.index_size - 1);
  while (m.index[at] != 0) at = (at + 1) & (m.index_size - 1);
  m.index[at] = position + 1;
}

void index_again(map_data& m, arena& memory) {
  m.index_size = 4 * indexed_from;
  while (m.index_size < m.capacity * 2) m.index_size *= 2;
  m.index = memory.space<std::uint32_t>(m.index_size);
  std::memset(m.index, 0, m.index_size * sizeof(std::uint32_t));
  for (std::uint32_t i = 0; i < m.size; ++i) put_in_index(m, i, memory);
}

void grow(map_data& m, arena& memory) {
  const std::uint32_t capacity = m.capacity < 4 ? 8 : m.capacity * 2;
  value* keys = memory.space<value>(capacity);
  value* values = memory.space<value>(capacity);
  std::uninitialized_copy_n(m.keys, m.size, keys);
  std::uninitialized_copy_n(m.values, m.size, values);
  m.keys = keys;
  m.values = values;
  m.capacity = capacity;
  if (capacity > indexed_from) index_again(m, memory);
}

void append(map_data& m, const value& key, const value& v, arena& memory) {
  if (m.size == m.capacity) grow(m, memory);
  new (m.keys + m.size) value(key);
  new (m.values + m.size) value(v);
  ++m.size;
  if (m.index) put_in_index(m, m.size - 1, memory);
}

std::uint32_t position_of(const map_data& m, std::uint32_t size, const value& key, arena& memory) {
  if (m.index) {
    for (std::size_t at = hash_of(key, memory) & (m.index_size - 1); m.index[at] != 0;
         at = (at + 1) & (m.index_size - 1)) {
      const std::uint32_t position = m.index[at] - 1;
      if (position < size && equal(m.keys[position], key, memory)) return position;
    }
    return size;
  }
  for (std::uint32_t i = 0; i < size; ++i)
    if (equal(m.keys[i], key, memory)) return i;
  return size;
}

// Text by its format, as the validation of structural schemas takes it.
value formatted(std::string_view text, shape::form as, arena& memory) {
  switch (as) {
    case shape::form::duration: {
      auto d = parse_duration_format(text);
      if (!d)
        return value::error(memory, "Invalid duration " + std::string(text) + ": unable to parse " + std::string(text) +
                                        " as duration");
      return value::duration(*d);
    }
    case shape::form::date:
    case shape::form::date_time: {
      auto t = as == shape::form::date ? parse_date(text) : parse_date_time_format(text);
      if (!t) {
        const char* what =
            as == shape::form::date ? "Invalid date formatted string " : "Invalid date-time formatted string ";
        return value::error(memory, what + std::string(text));
      }
      return value::timestamp(t->seconds, t->nanoseconds, t->offset);
    }
    case shape::form::bytes: {
      auto decoded = decode_base64(text);
      if (!decoded)
        return value::error(memory, "Invalid byte formatted string " + std::string(text) + ": illegal base64 data");
      return value::bytes(memory.copy(*decoded));
    }
    default: return value::string(text);
  }
}

}  // namespace

// What ends an evaluation: whoever runs it sees that the arena is full.
value too_large(arena& memory) {
  memory.refuse();
  return value::error(memory, "operation cancelled: actual cost limit exceeded");
}

value opaque::field(std::string_view, arena&) const { return {}; }

// What functions outside the class need of its inside.
struct value_parts {
  static value list(const value* items, std::uint32_t size, list_data* grows) {
    value v;
    v.kind_ = kind::list;
    v.size_ = size;
    v.items_ = items;
    v.grows_ = grows;
    return v;
  }
  static value map(map_data* data) {
    value v;
    v.kind_ = kind::map;
    v.size_ = data->size;
    v.map_ = data;
    return v;
  }
  static map_data* of(const value& v) noexcept { return v.is(kind::map) && !v.from_json_ ? v.map_ : nullptr; }
};

value value::null() noexcept {
  value v;
  v.kind_ = cel::kind::null;
  return v;
}
value value::boolean(bool b) noexcept {
  value v;
  v.kind_ = cel::kind::boolean;
  v.boolean_ = b;
  return v;
}
value value::integer(std::int64_t n) noexcept {
  value v;
  v.kind_ = cel::kind::integer;
  v.integer_ = n;
  return v;
}
value value::unsigned_integer(std::uint64_t n) noexcept {
  value v;
  v.kind_ = cel::kind::unsigned_integer;
  v.unsigned_ = n;
  return v;
}
value value::real(double d) noexcept {
  value v;
  v.kind_ = cel::kind::real;
  v.real_ = d;
  return v;
}
value value::string(std::string_view borrowed) noexcept {
  value v;
  v.kind_ = cel::kind::string;
  v.text_ = borrowed.data();
  v.size_ = static_cast<std::uint32_t>(borrowed.size());
  return v;
}
value value::bytes(std::string_view borrowed) noexcept {
  value v = string(borrowed);
  v.kind_ = cel::kind::bytes;
  return v;
}
value value::duration(std::int64_t nanoseconds) noexcept {
  value v = integer(nanoseconds);
  v.kind_ = cel::kind::duration;
  return v;
}
value value::timestamp(std::int64_t seconds, std::uint32_t nanoseconds, std::int32_t offset) noexcept {
  value v = integer(seconds);
  v.kind_ = cel::kind::timestamp;
  v.size_ = nanoseconds;
  v.offset_ = offset;
  return v;
}
value value::type(const cel::type& borrowed) noexcept {
  value v;
  v.kind_ = cel::kind::type;
  v.type_ = &borrowed;
  return v;
}
value value::none() noexcept {
  value v;
  v.kind_ = cel::kind::optional;
  v.held_ = nullptr;
  return v;
}
value value::some(arena& memory, const value& held) {
  value v = none();
  v.held_ = memory.make<value>(held);
  return v;
}
value value::opaque(const cel::opaque* o) noexcept {
  value v;
  v.kind_ = cel::kind::opaque;
  v.opaque_ = o;
  return v;
}
value value::error(arena& memory, std::string_view message) {
  value v = string(memory.copy(message));
  v.kind_ = cel::kind::error;
  return v;
}

value value::json(const json::value& of) noexcept {
  switch (of.type()) {
    case json::type::null: return null();
    case json::type::boolean: return boolean(of.as_bool());
    case json::type::integer: return integer(of.as_integer());
    case json::type::number: return real(of.as_number());
    case json::type::string: return string(of.as_string());
    case json::type::array:
    case json::type::object: break;
  }
  value v;
  v.kind_ = of.is_array() ? cel::kind::list : cel::kind::map;
  v.from_json_ = true;
  v.json_ = &of;
  v.shape_ = nullptr;
  v.size_ = static_cast<std::uint32_t>(of.size());
  return v;
}

namespace {

// How the elements and members of what has this shape are read.
const shape* below(const shape& s) noexcept { return s.as == shape::form::loose ? &s : s.items; }

const json::value* member_of(const json::value& of, const shape& s, std::string_view name) {
  if (!s.member) return of.find(name);
  const auto stands_for = s.member(name);
  return stands_for ? of.find(*stands_for) : nullptr;
}

}  // namespace

value value::json(const json::value& of, const cel::shape* s, arena& memory) {
  if (!s) return json(of);
  switch (s->as) {
    case shape::form::loose: {
      if (of.is_integer()) return real(static_cast<double>(of.as_integer()));
      value v = json(of);
      if (v.from_json_) v.shape_ = s;
      return v;
    }
    case shape::form::real: return of.is_integer() ? real(static_cast<double>(of.as_integer())) : json(of);
    case shape::form::duration:
    case shape::form::date:
    case shape::form::date_time:
    case shape::form::bytes: return of.is_string() ? formatted(of.as_string(), s->as, memory) : json(of);
    default: break;
  }
  value v = json(of);
  const bool fits = v.kind_ == cel::kind::list ? s->as == shape::form::list
                                               : s->as == shape::form::map || s->as == shape::form::object;
  if (v.from_json_ && fits) v.shape_ = s;
  return v;
}

value value::list(arena& memory, std::span<const value> items) {
  if (!memory.has_room(items.size() * sizeof(value))) return too_large(memory);
  value* to = memory.space<value>(items.size());
  std::uninitialized_copy(items.begin(), items.end(), to);
  return value_parts::list(to, static_cast<std::uint32_t>(items.size()), nullptr);
}

value value::map(arena& memory, std::span<const std::pair<value, value>> entries) {
  if (!memory.has_room(entries.size() * 3 * sizeof(value))) return too_large(memory);
  auto* data = memory.make<map_data>();
  data->capacity = static_cast<std::uint32_t>(entries.size());
  data->keys = memory.space<value>(entries.size());
  data->values = memory.space<value>(entries.size());
  if (data->capacity > indexed_from) index_again(*data, memory);
  for (const auto& [key, v] : entries) append(*data, key, v, memory);
  return value_parts::map(data);
}

value map_with_default(arena& memory, std::span<const std::pair<value, value>> entries, const value& otherwise) {
  const value made = value::map(memory, entries);
  value_parts::of(made)->otherwise = memory.make<value>(otherwise);
  return made;
}

const value* default_of(const value& map) noexcept {
  auto* data = value_parts::of(map);
  return data ? data->otherwise : nullptr;
}

std::optional<std::uint64_t> value::size() const noexcept {
  switch (kind_) {
    case cel::kind::string: return utf8_count(as_text());
    case cel::kind::bytes:
    case cel::kind::list:
    case cel::kind::map: return size_;
    case cel::kind::opaque: return opaque_->size();
    default: return std::nullopt;
  }
}

value value::at(std::size_t i, arena& memory) const {
  if (!from_json_) return items_[i];
  const json::value& item = (*json_->array())[i];
  return shape_ ? json(item, below(*shape_), memory) : json(item);
}

value value::find(std::string_view key, arena& memory) const {
  if (kind_ == cel::kind::opaque) return opaque_->field(key, memory);
  if (!from_json_) return find(string(key), memory);
  if (!shape_) {
    const json::value* found = json_->find(key);
    return found ? json(*found) : value();
  }
  if (shape_->as == shape::form::object) {
    auto field = shape_->fields.find(key);
    if (field == shape_->fields.end()) return {};
    const json::value* found = json_->find(field->second.name);
    // A field that may be null and is, is as good as absent.
    return found && !found->is_null() ? json(*found, field->second.of, memory) : value();
  }
  const json::value* found = member_of(*json_, *shape_, key);
  return found ? json(*found, below(*shape_), memory) : value();
}

value value::find(const value& key, arena& memory) const {
  if (key.kind_ == cel::kind::string && (from_json_ || kind_ == cel::kind::opaque)) return find(key.as_text(), memory);
  if (from_json_ || kind_ == cel::kind::opaque) return {};
  const std::uint32_t at = position_of(*map_, size_, key, memory);
  return at < size_ ? map_->values[at] : value();
}

bool value::has(std::string_view key) const noexcept {
  if (kind_ == cel::kind::opaque) return opaque_->has_field(key);
  if (!from_json_) {
    const auto here = [&](std::uint32_t i) {
      return i < size_ && map_->keys[i].kind_ == cel::kind::string && map_->keys[i].as_text() == key;
    };
    if (map_->index) {
      const std::uint32_t mask = map_->index_size - 1;
      for (std::size_t at = std::hash<std::string_view>{}(key)&mask; map_->index[at] != 0; at = (at + 1) & mask)
        if (here(map_->index[at] - 1)) return true;
      return false;
    }
    for (std::uint32_t i = 0; i < size_; ++i)
      if (here(i)) return true;
    return false;
  }
  if (shape_ && shape_->as == shape::form::object) {
    auto field = shape_->fields.find(key);
    if (field == shape_->fields.end()) return false;
    const json::value* found = json_->find(field->second.name);
    return found && !found->is_null();
  }
  return (shape_ ? member_of(*json_, *shape_, key) : json_->find(key)) != nullptr;
}

value value::key_at(std::size_t i, arena&) const {
  if (!from_json_) return map_->keys[i];
  const std::string& name = (json_->object()->begin() + static_cast<std::ptrdiff_t>(i))->name;
  if (!shape_ || shape_->as != shape::form::object) return string(name);
  for (const auto& [escaped, field] : shape_->fields)
    if (field.name == name) return string(escaped);
  return string(name);
}

value value::value_at(std::size_t i, arena& memory) const {
  if (!from_json_) return map_->values[i];
  const auto& member = *(json_->object()->begin() + static_cast<std::ptrdiff_t>(i));
  if (!shape_) return json(member.value);
  if (shape_->as != shape::form::object) return json(member.value, below(*shape_), memory);
  for (const auto& [escaped, field] : shape_->fields)
    if (field.name == member.name) return json(member.value, field.of, memory);
  return json(member.value);
}

value value::with(const value& item, arena& memory) const {
  list_data* data = from_json_ ? nullptr : grows_;
  if (!data || data->size != size_ || data->size == data->capacity) {
    // Somebody has written behind this list already, or there is no room: it moves to a place of its own.
    const std::uint32_t capacity = size_ < 4 ? 8 : size_ * 2;
    if (!memory.has_room(capacity * sizeof(value))) return too_large(memory);
    auto* moved = memory.make<list_data>();
    moved->items = memory.space<value>(capacity);
    moved->capacity = capacity;
    for (std::uint32_t i = 0; i < size_; ++i) new (moved->items + i) value(at(i, memory));
    moved->size = size_;
    data = moved;
  }
  new (data->items + data->size) value(item);
  ++data->size;
  return value_parts::list(data->items, data->size, data);
}

value value::with(const value& key, const value& v, arena& memory) const {
  map_data* data = from_json_ ? nullptr : map_;
  if (!data || data->size != size_) {
    if (!memory.has_room(size_ * 3 * sizeof(value))) return too_large(memory);
    auto* moved = memory.make<map_data>();
    for (std::uint32_t i = 0; i < size_; ++i) append(*moved, key_at(i, memory), value_at(i, memory), memory);
    data = moved;
  }
  if (!memory.has_room(data->capacity * 3 * sizeof(value))) return too_large(memory);
  append(*data, key, v, memory);
  return value_parts::map(data);
}

const cel::type& value::runtime_type() const noexcept {
  static const cel::type any_list = cel::type::list(cel::type::dyn());
  static const cel::type any_map = cel::type::map(cel::type::dyn(), cel::type::dyn());
  static const cel::type any_type = cel::type::type_of(cel::type::dyn());
  static const cel::type any_optional = cel::type::optional(cel::type::dyn());
  switch (kind_) {
    case cel::kind::null: return cel::type::null();
    case cel::kind::boolean: return cel::type::boolean();
    case cel::kind::integer: return cel::type::integer();
    case cel::kind::unsigned_integer: return cel::type::unsigned_integer();
    case cel::kind::real: return cel::type::real();
    case cel::kind::string: return cel::type::string();
    case cel::kind::bytes: return cel::type::bytes();
    case cel::kind::duration: return cel::type::duration();
    case cel::kind::timestamp: return cel::type::timestamp();
    case cel::kind::list: return any_list;
    case cel::kind::map: return any_map;
    case cel::kind::type: return any_type;
    case cel::kind::optional: return any_optional;
    case cel::kind::opaque: return opaque_->type();
    case cel::kind::absent:
    case cel::kind::error: break;
  }
  return cel::type::error();
}

std::string_view kind_text(const value& v) noexcept { return v.runtime_type().name(); }

namespace {

bool equal_in_order(const value& a, const value& b, arena& memory, int depth) {
  const std::size_t n = *a.size();
  for (std::size_t i = 0; i < n; ++i)
    if (!equal(a.at(i, memory), b.at(i, memory), memory, depth + 1)) return false;
  return true;
}

// What tells elements of a list of the schema's kind `map` apart: their keys' values, one behind the other.
value key_of(const value& element, const shape& s, arena& memory) {
  if (s.list == shape::list_kind::set || !element.is(kind::map)) return element;
  std::vector<value> keys;
  for (const std::string& name : s.keys) keys.push_back(element.find(std::string_view(name), memory));
  return value::list(memory, keys);
}

// Sets, and lists with keys: each element of one has its like in the other, wherever it stands.
bool equal_in_any_order(const value& a, const value& b, const shape& s, arena& memory, int depth) {
  std::unordered_multimap<std::size_t, value> there;
  const std::size_t n = *a.size();
  for (std::size_t i = 0; i < n; ++i) {
    value element = a.at(i, memory);
    there.emplace(hash_of(key_of(element, s, memory), memory), element);
  }
  for (std::size_t i = 0; i < n; ++i) {
    const value element = b.at(i, memory);
    auto [from, to] = there.equal_range(hash_of(key_of(element, s, memory), memory));
    bool found = false;
    for (; from != to && !found; ++from) found = equal(from->second, element, memory, depth + 1);
    if (!found) return false;
  }
  return true;
}

bool equal_lists(const value& a, const value& b, arena& memory, int depth) {
  if (*a.size() != *b.size()) return false;
  if (const shape* s = a.shape(); s && s->list != shape::list_kind::atomic)
    return equal_in_any_order(a, b, *s, memory, depth);
  return equal_in_order(a, b, memory, depth);
}

bool equal_maps(const value& a, const value& b, arena& memory, int depth) {
  if (*a.size() != *b.size()) return false;
  for (std::size_t i = 0, n = *a.size(); i < n; ++i) {
    const value there = b.find(a.key_at(i, memory), memory);
    const value here = a.value_at(i, memory);
    if (there.is(kind::absent)) {
      // Members that the schema doesn't know, and nulls, aren't found by name.
      const json::value *one = a.document(), *other = b.document();
      if (!one || !other || !a.shape()) return false;
      const auto& member = *(one->object()->begin() + static_cast<std::ptrdiff_t>(i));
      const json::value* same = other->find(member.name);
      if (!same || !(*same == member.value)) return false;
      continue;
    }
    if (!equal(here, there, memory, depth + 1)) return false;
  }
  return true;
}

bool is_number(const value& v) noexcept {
  return v.is(kind::integer) || v.is(kind::unsigned_integer) || v.is(kind::real);
}

template <typename T>
int order(T a, T b) noexcept {
  return a < b ? -1 : b < a ? 1 : 0;
}

std::optional<int> compare_numbers(const value& a, const value& b) noexcept {
  if (a.is(kind::real) || b.is(kind::real)) {
    const auto real = [](const value& v) {
      return v.is(kind::real)      ? v.as_real()
             : v.is(kind::integer) ? static_cast<double>(v.as_integer())
                                   : static_cast<double>(v.as_unsigned());
    };
    const double x = real(a), y = real(b);
    if (std::isnan(x) || std::isnan(y)) return std::nullopt;
    return order(x, y);
  }
  if (a.is(kind::integer) && b.is(kind::integer)) return order(a.as_integer(), b.as_integer());
  if (a.is(kind::unsigned_integer) && b.is(kind::unsigned_integer)) return order(a.as_unsigned(), b.as_unsigned());
  if (a.is(kind::integer))
    return a.as_integer() < 0 ? -1 : order(static_cast<std::uint64_t>(a.as_integer()), b.as_unsigned());
  return b.as_integer() < 0 ? 1 : order(a.as_unsigned(), static_cast<std::uint64_t>(b.as_integer()));
}

}  // namespace

bool equal(const value& a, const value& b, arena& memory, int depth) {
  if (depth > value_depth_max || memory.full()) return false;
  memory.compared();
  if (is_number(a) && is_number(b)) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case kind::absent:
    case kind::null: return true;
    case kind::boolean: return a.as_bool() == b.as_bool();
    case kind::string:
    case kind::bytes: return a.as_text() == b.as_text();
    case kind::duration: return a.as_nanoseconds() == b.as_nanoseconds();
    case kind::timestamp: return a.seconds() == b.seconds() && a.nanoseconds() == b.nanoseconds();
    case kind::list: return equal_lists(a, b, memory, depth);
    case kind::map: return equal_maps(a, b, memory, depth);
    case kind::type: return a.as_type().name() == b.as_type().name();
    case kind::optional:
      if (!a.held() || !b.held()) return a.held() == b.held();
      return equal(*a.held(), *b.held(), memory, depth + 1);
    case kind::opaque:
      return &a.as_opaque() == &b.as_opaque() ||
             (a.as_opaque().type() == b.as_opaque().type() && a.as_opaque().equals(b.as_opaque()));
    default: return false;
  }
}

std::optional<int> compare(const value& a, const value& b) noexcept {
  if (is_number(a) && is_number(b)) return compare_numbers(a, b);
  if (a.kind() != b.kind()) return std::nullopt;
  switch (a.kind()) {
    case kind::boolean: return order(a.as_bool(), b.as_bool());
    case kind::string:
    case kind::bytes: return order(a.as_text(), b.as_text());
    case kind::duration: return order(a.as_nanoseconds(), b.as_nanoseconds());
    case kind::timestamp:
      return order(std::pair(a.seconds(), a.nanoseconds()), std::pair(b.seconds(), b.nanoseconds()));
    default: return std::nullopt;
  }
}

std::string text_of(const value& v) {
  switch (v.kind()) {
    case kind::null: return "null";
    case kind::boolean: return v.as_bool() ? "true" : "false";
    case kind::integer: return std::to_string(v.as_integer());
    case kind::unsigned_integer: return std::to_string(v.as_unsigned());
    case kind::real: return real_text(v.as_real());
    case kind::string:
    case kind::error:
    case kind::bytes: return std::string(v.as_text());
    case kind::duration: return format_duration(kedge::duration(v.as_nanoseconds()));
    case kind::timestamp: return timestamp_text({v.seconds(), v.nanoseconds(), v.offset()});
    case kind::type: return v.as_type().name();
    default: return std::string(kind_text(v));
  }
}

std::optional<json::value> to_json(const value& v, arena& memory, int depth) {
  if (depth > value_depth_max) return std::nullopt;
  if (const json::value* document = v.document(); document && !v.shape()) return *document;
  switch (v.kind()) {
    case kind::null: return json::value(nullptr);
    case kind::boolean: return json::value(v.as_bool());
    case kind::integer: return json::value(v.as_integer());
    case kind::unsigned_integer:
      if (v.as_unsigned() <= INT64_MAX) return json::value(static_cast<std::int64_t>(v.as_unsigned()));
      return json::value(static_cast<double>(v.as_unsigned()));
    case kind::real: return json::value(v.as_real());
    case kind::string: return json::value(v.as_text());
    case kind::bytes: return json::value(encode_base64(v.as_text()));
    case kind::duration: return json::value(duration_text(v.as_nanoseconds()));
    case kind::timestamp: return json::value(text_of(v));
    case kind::list: {
      json::array out;
      for (std::size_t i = 0, n = *v.size(); i < n; ++i) {
        auto item = to_json(v.at(i, memory), memory, depth + 1);
        if (!item) return std::nullopt;
        out.push_back(std::move(*item));
      }
      return json::value(std::move(out));
    }
    case kind::map: {
      json::object out;
      for (std::size_t i = 0, n = *v.size(); i < n; ++i) {
        const value key = v.key_at(i, memory);
        if (!key.is(kind::string)) return std::nullopt;
        auto member = to_json(v.value_at(i, memory), memory, depth + 1);
        if (!member) return std::nullopt;
        out.set(key.as_text(), std::move(*member));
      }
      return json::value(std::move(out));
    }
    case kind::optional: return v.held() ? to_json(*v.held(), memory, depth + 1) : std::optional(json::value(nullptr));
    case kind::opaque: return v.as_opaque().json();
    default: return std::nullopt;
  }
}

}  // namespace kedge::cel
