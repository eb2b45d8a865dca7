#include "cel/functions/libraries.h"
#include "cel/macro.h"

namespace kedge::cel {

void add_standard(environment::builder& b) {
  add_operators(b);
  add_conversions(b);
  add_text(b);
  add_time(b);
  for (macro& m : standard_macros()) b.macro(std::move(m));
}

namespace {

using args = std::span<const value>;

// cel.@mapInsert, by which folds make maps: a key only once.
value insert(const value& map, const value& key, const value& v, arena& memory) {
  if (!map.find(key, memory).is(kind::absent))
    return value::error(memory, "insert failed: key " + text_of(key) + " already exists");
  return map.with(key, v, memory);
}

value insert_entry(args a, arena& memory) { return insert(a[0], a[1], a[2], memory); }

value insert_all(args a, arena& memory) {
  value out = a[0];
  for (std::size_t i = 0, n = *a[1].size(); i < n && !out.is_error(); ++i)
    out = insert(out, a[1].key_at(i, memory), a[1].value_at(i, memory), memory);
  return out;
}

}  // namespace

void add_two_variable(environment::builder& b) {
  const type key = type::parameter("K"), v = type::parameter("V"), map = type::map(key, v);
  b.function({"cel.@mapInsert",
              {global("@mapInsert_map_key_value", {map, key, v}, map, insert_entry),
               global("@mapInsert_map_map", {map, map}, map, insert_all)}});
  for (macro& m : two_variable_macros()) b.macro(std::move(m));
}

void add_bindings(environment::builder& b) {
  for (macro& m : binding_macros()) b.macro(std::move(m));
}

}  // namespace kedge::cel
