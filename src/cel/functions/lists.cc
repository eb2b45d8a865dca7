// cel-go's list extensions, version 3, with the costs that they bring.
#include <algorithm>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cel/functions/libraries.h"
#include "cel/limits.h"
#include "cel/macro.h"

namespace kedge::cel {

namespace {

using args = std::span<const value>;
using parts = std::span<const estimated_part>;

std::uint64_t call_and_list(double factor, std::uint64_t size) {
  if (factor < 0) factor = 1;
  const double n = static_cast<double>(size) * factor;
  const std::uint64_t steps = n >= 18446744073709551616.0 ? UINT64_MAX : static_cast<std::uint64_t>(n);
  return (range::exactly(steps) + range::exactly(1 + cost_of_list)).max;
}

call_estimate estimated_list(double factor, range size) {
  return {size.scaled(factor) + range::exactly(1) + range::exactly(cost_of_list), size};
}

std::uint64_t cost_of_result(args, const value& result) { return call_and_list(1, size_for_cost(result)); }

value slice(args a, arena& memory) {
  const std::int64_t begin = a[1].as_integer(), end = a[2].as_integer();
  const auto n = static_cast<std::int64_t>(*a[0].size());
  const std::string call = "cannot slice(" + std::to_string(begin) + ", " + std::to_string(end) + "), ";
  if (begin < 0 || end < 0) return value::error(memory, call + "negative indexes not supported");
  if (begin > end) return value::error(memory, call + "start index must be less than or equal to end index");
  if (n < end) return value::error(memory, call + "list is length " + std::to_string(n));
  std::vector<value> out;
  for (std::int64_t i = begin; i < end; ++i) out.push_back(a[0].at(static_cast<std::size_t>(i), memory));
  return value::list(memory, out);
}

std::optional<call_estimate> estimate_slice(const estimated_part* target, parts a, const size_model* sizes) {
  if (!target || a.size() != 2) return std::nullopt;
  const range size = size_of(*target, sizes);
  return estimated_list(1, range::exactly(constant_or(a[1], size.max) - constant_or(a[0], 0)));
}

bool flatten_into(std::vector<value>& out, const value& list, std::int64_t depth, arena& memory, int levels) {
  if (levels > value_depth_max) return false;
  for (std::size_t i = 0, n = *list.size(); i < n; ++i) {
    const value v = list.at(i, memory);
    if (!v.is(kind::list) || depth == 0)
      out.push_back(v);
    else if (!flatten_into(out, v, depth - 1, memory, levels + 1))
      return false;
    if (!memory.has_room(out.size() * sizeof(value))) return false;
  }
  return true;
}

value flatten(args a, arena& memory) {
  if (!a[0].is(kind::list) || (a.size() > 1 && !a[1].is(kind::integer)))
    return value::error(memory, "no such overload: " + std::string(kind_text(a[0])) + ".flatten(" +
                                    (a.size() > 1 ? std::string(kind_text(a[1])) : "") + ")");
  const std::int64_t depth = a.size() > 1 ? a[1].as_integer() : 1;
  if (depth < 0) return value::error(memory, "level must be non-negative");
  std::vector<value> out;
  return flatten_into(out, a[0], depth, memory, 0) ? value::list(memory, out) : too_large(memory);
}

std::optional<call_estimate> estimate_flatten(const estimated_part* target, parts a, const size_model* sizes) {
  if (!target || a.size() > 1) return std::nullopt;
  const double depth = a.empty() ? 1 : static_cast<double>(constant_or(a[0], UINT64_MAX));
  return estimated_list(depth, size_of(*target, sizes));
}

std::uint64_t cost_of_flatten(args a, const value&) {
  const double depth = a.size() > 1 && a[1].is(kind::integer) ? static_cast<double>(a[1].as_integer()) : 1;
  return call_and_list(depth, size_for_cost(a[0]));
}

bool is_comparable(const value& v) {
  switch (v.kind()) {
    case kind::boolean:
    case kind::integer:
    case kind::unsigned_integer:
    case kind::real:
    case kind::string:
    case kind::bytes:
    case kind::duration:
    case kind::timestamp: return true;
    default: return false;
  }
}

value sorted_by(const value& list, const value& keys, arena& memory) {
  if (!list.is(kind::list) || !keys.is(kind::list)) return no_such_overload(memory);
  const std::size_t n = *list.size();
  if (n != *keys.size())
    return value::error(
        memory, "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got " +
                    std::to_string(n) + " and " + std::to_string(*keys.size()) + " elements respectively");
  if (n == 0) return list;
  std::vector<std::pair<value, std::size_t>> order;
  for (std::size_t i = 0; i < n; ++i) order.emplace_back(keys.at(i, memory), i);
  if (!is_comparable(order[0].first)) return value::error(memory, "list elements must be comparable");
  for (const auto& [key, i] : order)
    if (key.kind() != order[0].first.kind()) return value::error(memory, "list elements must have the same type");
  std::ranges::sort(order, [](const auto& a, const auto& b) {
    const auto c = compare(a.first, b.first);
    return c && *c != 0 ? *c < 0 : a.second < b.second;
  });
  std::vector<value> out;
  for (const auto& [key, i] : order) out.push_back(list.at(i, memory));
  return value::list(memory, out);
}

value sort(args a, arena& memory) { return sorted_by(a[0], a[0], memory); }
value sort_by(args a, arena& memory) { return sorted_by(a[0], a[1], memory); }

// Every element with every other.
std::uint64_t cost_of_comparing(const value& list) {
  const std::uint64_t n = size_for_cost(list);
  if (n == 0 || !list.is(kind::list)) return call_and_list(2, 0);
  arena memory;
  const value first = list.at(0, memory);
  const bool text = first.is(kind::string) || first.is(kind::bytes);
  return call_and_list(text ? 2 + cost_of_character : 2, (range::exactly(n) * range::exactly(n)).max);
}

std::uint64_t cost_of_first(args a, const value&) { return cost_of_comparing(a[0]); }
std::uint64_t cost_of_keys(args a, const value&) { return cost_of_comparing(a[1]); }

template <bool text>
call_estimate estimated_sort(const estimated_part& keys, const size_model* sizes) {
  const range size = size_of(keys, sizes);
  return estimated_list(text ? 2 + cost_of_character : 2, size * size);
}

template <bool text>
std::optional<call_estimate> estimate_sort(const estimated_part* target, parts a, const size_model* sizes) {
  if (!target || !a.empty()) return std::nullopt;
  return estimated_sort<text>(*target, sizes);
}

template <bool text>
std::optional<call_estimate> estimate_sort_by(const estimated_part* target, parts a, const size_model* sizes) {
  if (!target || a.size() != 1) return std::nullopt;
  return estimated_sort<text>(a[0], sizes);
}

value numbers(args a, arena& memory) {
  const std::int64_t n = a[0].as_integer();
  if (n < 0) return value::error(memory, "lists.range: size must be non-negative, got " + std::to_string(n));
  if (static_cast<std::uint64_t>(n) > memory_max_bytes / sizeof(value) ||
      !memory.has_room(static_cast<std::size_t>(n) * sizeof(value)))
    return too_large(memory);
  std::vector<value> out;
  out.reserve(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) out.push_back(value::integer(i));
  return value::list(memory, out);
}

std::optional<call_estimate> estimate_numbers(const estimated_part* target, parts a, const size_model*) {
  if (target || a.size() != 1) return std::nullopt;
  return estimated_list(1, range::exactly(constant_or(a[0], UINT64_MAX)));
}

value reverse(args a, arena& memory) {
  std::vector<value> out;
  for (std::size_t i = *a[0].size(); i > 0; --i) out.push_back(a[0].at(i - 1, memory));
  return value::list(memory, out);
}

std::optional<call_estimate> estimate_reverse(const estimated_part* target, parts a, const size_model* sizes) {
  if (!target || !a.empty()) return std::nullopt;
  return estimated_list(1, size_of(*target, sizes));
}

value distinct(args a, arena& memory) {
  value seen = value::map(memory, {});
  std::vector<value> out;
  for (std::size_t i = 0, n = *a[0].size(); i < n; ++i) {
    const value v = a[0].at(i, memory);
    if (!seen.find(v, memory).is(kind::absent)) continue;
    seen = seen.with(v, value::boolean(true), memory);
    out.push_back(v);
  }
  return value::list(memory, out);
}

std::optional<call_estimate> estimate_distinct(const estimated_part* target, parts a, const size_model* sizes) {
  if (!target || !a.empty()) return std::nullopt;
  const range size = size_of(*target, sizes);
  return estimated_list(2, size * size);
}

// list.sortBy(e, key): the list under a name, sorted by the keys of its elements.
std::expected<node_ptr, macro_error> expand_sort_by(node_factory& make, node_ptr& target, std::vector<node_ptr>& a) {
  switch (target->kind) {
    case node_kind::list:
    case node_kind::select:
    case node_kind::ident:
    case node_kind::fold:
    case node_kind::call: break;
    default:
      return std::unexpected(macro_error{
          target->id, "sortBy can only be applied to a list, identifier, comprehension, call or select expression"});
  }
  const std::string name = "@__sortBy_input__";
  static const auto macros = standard_macros();
  const auto map = std::ranges::find_if(macros, [](const macro& m) { return m.name == "map" && m.arguments == 2; });
  node_ptr input = make.ident(name);
  auto keys = map->expand(make, input, a);
  if (!keys) return keys;
  std::vector<node_ptr> arguments;
  arguments.push_back(std::move(*keys));
  node_ptr call = make.member_call("@sortByAssociatedKeys", make.ident(name), std::move(arguments));
  node_ptr nothing = make.list({});
  node_ptr never = make.literal_bool(false);
  node_ptr step = make.ident(name);
  return make.fold(std::move(nothing), "#unused", "", name, std::move(target), std::move(never), std::move(step),
                   std::move(call));
}

overload with_costs(overload o, call_estimate_function estimate, call_cost cost) {
  o.estimate = estimate;
  o.cost = cost;
  return o;
}

}  // namespace

void add_lists(environment::builder& b) {
  const type t = type::parameter("T"), list = type::list(t), lists = type::list(list), any = type::list(type::dyn());
  const type& integer = type::integer();
  b.function(
      {"slice",
       {with_costs(method("list_slice", {list, integer, integer}, list, slice), estimate_slice, cost_of_result)}});
  b.function({"flatten",
              {with_costs(method("list_flatten", {lists}, list), estimate_flatten, cost_of_flatten),
               with_costs(method("list_flatten_int", {any, integer}, any), estimate_flatten, cost_of_flatten)},
              flatten});
  function sorting{"sort", {}, sort}, sorting_by{"@sortByAssociatedKeys", {}, sort_by};
  for (const type& of : {type::integer(), type::unsigned_integer(), type::real(), type::boolean(), type::duration(),
                         type::timestamp(), type::string(), type::bytes()}) {
    const bool text = of.is(type_kind::string) || of.is(type_kind::bytes);
    sorting.overloads.push_back(with_costs(method("list_" + of.name() + "_sort", {type::list(of)}, type::list(of)),
                                           text ? estimate_sort<true> : estimate_sort<false>, cost_of_first));
    sorting_by.overloads.push_back(
        with_costs(method("list_" + of.name() + "_sortByAssociatedKeys", {list, type::list(of)}, list),
                   text ? estimate_sort_by<true> : estimate_sort_by<false>, cost_of_keys));
  }
  b.function(std::move(sorting));
  b.function(std::move(sorting_by));
  b.macro({"sortBy", 2, true, expand_sort_by});
  b.function(
      {"lists.range",
       {with_costs(global("lists_range", {integer}, type::list(integer), numbers), estimate_numbers, cost_of_result)}});
  b.function(
      {"reverse", {with_costs(method("list_reverse", {list}, list, reverse), estimate_reverse, cost_of_result)}});
  b.function(
      {"distinct", {with_costs(method("list_distinct", {list}, list, distinct), estimate_distinct, cost_of_first)}});
}

namespace {

bool holds(const value& list, const value& v, arena& memory) {
  for (std::size_t i = 0, n = *list.size(); i < n; ++i)
    if (equal(v, list.at(i, memory), memory)) return true;
  return false;
}

bool holds_all(const value& list, const value& of, arena& memory) {
  for (std::size_t i = 0, n = *of.size(); i < n; ++i)
    if (!holds(list, of.at(i, memory), memory)) return false;
  return true;
}

value sets_contains(args a, arena& memory) { return value::boolean(holds_all(a[0], a[1], memory)); }
value sets_equivalent(args a, arena& memory) {
  return value::boolean(holds_all(a[0], a[1], memory) && holds_all(a[1], a[0], memory));
}
value sets_intersects(args a, arena& memory) {
  for (std::size_t i = 0, n = *a[0].size(); i < n; ++i)
    if (holds(a[1], a[0].at(i, memory), memory)) return value::boolean(true);
  return value::boolean(false);
}

template <int times>
std::optional<call_estimate> estimate_sets(const estimated_part*, parts a, const size_model* sizes) {
  if (a.size() != 2) return std::nullopt;
  return call_estimate{(size_of(a[0], sizes) * size_of(a[1], sizes)).scaled(times) + range::exactly(1), {}};
}

template <int times>
std::uint64_t cost_of_sets(args a, const value&) {
  return 1 + size_for_cost(a[0]) * size_for_cost(a[1]) * times;
}

}  // namespace

void add_sets(environment::builder& b) {
  const type list = type::list(type::parameter("T"));
  const type& boolean = type::boolean();
  b.function({"sets.contains",
              {with_costs(global("list_sets_contains_list", {list, list}, boolean, sets_contains), estimate_sets<1>,
                          cost_of_sets<1>)}});
  b.function({"sets.equivalent",
              {with_costs(global("list_sets_equivalent_list", {list, list}, boolean, sets_equivalent), estimate_sets<2>,
                          cost_of_sets<2>)}});
  b.function({"sets.intersects",
              {with_costs(global("list_sets_intersects_list", {list, list}, boolean, sets_intersects), estimate_sets<1>,
                          cost_of_sets<1>)}});
}

}  // namespace kedge::cel
