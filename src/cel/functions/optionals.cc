#include "cel/functions/libraries.h"
#include "cel/macro.h"

namespace kedge::cel {

namespace {

using args = std::span<const value>;

value of(args a, arena& memory) { return value::some(memory, a[0]); }

bool is_zero(const value& v) {
  switch (v.kind()) {
    case kind::null: return true;
    case kind::boolean: return !v.as_bool();
    case kind::integer:
    case kind::duration: return v.as_integer() == 0;
    case kind::unsigned_integer: return v.as_unsigned() == 0;
    case kind::real: return v.as_real() == 0;
    case kind::string:
    case kind::bytes:
    case kind::list:
    case kind::map: return v.size() == 0u;
    default: return false;
  }
}

value of_non_zero(args a, arena& memory) { return is_zero(a[0]) ? value::none() : value::some(memory, a[0]); }
value none(args, arena&) { return value::none(); }
value held(args a, arena& memory) {
  return a[0].held() ? *a[0].held() : value::error(memory, "optional.none() dereference");
}
value has_value(args a, arena&) { return value::boolean(a[0].held() != nullptr); }

value first(args a, arena& memory) {
  return a[0].size() == 0u ? value::none() : value::some(memory, a[0].at(0, memory));
}
value last(args a, arena& memory) {
  return a[0].size() == 0u ? value::none() : value::some(memory, a[0].at(*a[0].size() - 1, memory));
}

value unwrap(args a, arena& memory) {
  std::vector<value> out;
  for (std::size_t i = 0, n = *a[0].size(); i < n; ++i) {
    const value v = a[0].at(i, memory);
    if (!v.is(kind::optional)) return value::error(memory, "value " + text_of(v) + " is not optional");
    if (v.held()) out.push_back(*v.held());
  }
  return value::list(memory, out);
}

}  // namespace

void add_optionals(environment::builder& b) {
  const type k = type::parameter("K"), v = type::parameter("V"), optional = type::optional(v);
  const type list = type::list(v), map = type::map(k, v), optionals = type::list(optional);
  static const type any = type::optional(type::dyn());
  b.constant("optional_type", type::type_of(any), value::type(any));
  b.function({"optional.of", {global("optional_of", {v}, optional, of)}});
  b.function({"optional.ofNonZeroValue", {global("optional_ofNonZeroValue", {v}, optional, of_non_zero)}});
  b.function({"optional.none", {global("optional_none", {}, optional, none)}});
  b.function({"value", {method("optional_value", {optional}, v, held)}});
  b.function({"hasValue", {method("optional_hasValue", {optional}, type::boolean(), has_value)}});
  b.function({"or", {method("optional_or_optional", {optional, optional}, optional)}});
  b.function({"orValue", {method("optional_orValue_value", {optional, v}, v)}});
  b.function({"_?._", {global("select_optional_field", {type::dyn(), type::string()}, optional)}});
  b.function({"_[?_]",
              {global("list_optindex_optional_int", {list, type::integer()}, optional),
               global("optional_list_optindex_optional_int", {type::optional(list), type::integer()}, optional),
               global("map_optindex_optional_value", {map, k}, optional),
               global("optional_map_optindex_optional_value", {type::optional(map), k}, optional)}});
  b.function({"_[_]",
              {global("optional_list_index_int", {type::optional(list), type::integer()}, optional),
               global("optional_map_index_value", {type::optional(map), k}, optional)}});
  b.function({"first", {method("list_first", {list}, optional, first)}});
  b.function({"last", {method("list_last", {list}, optional, last)}});
  b.function({"optional.unwrap", {global("optional_unwrap", {optionals}, list, unwrap)}});
  b.function({"unwrapOpt", {method("optional_unwrapOpt", {optionals}, list, unwrap)}});
  for (macro& m : optional_macros()) b.macro(std::move(m));
}

}  // namespace kedge::cel
