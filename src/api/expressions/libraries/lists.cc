#include "api/expressions/libraries/libraries.h"

namespace kedge::api::expressions {

namespace {

using cel::kind;
using cel::value;
using args = std::span<const value>;

value is_sorted(args a, cel::arena& memory) {
  value before;
  for (std::size_t i = 0, n = *a[0].size(); i < n; ++i) {
    const value now = a[0].at(i, memory);
    if (i > 0 && cel::compare(before, now) == 1) return value::boolean(false);
    before = now;
  }
  return value::boolean(true);
}

value added(const value& a, const value& b, cel::arena& memory) {
  switch (a.kind()) {
    case kind::real: return value::real(a.as_real() + b.as_real());
    case kind::unsigned_integer: {
      std::uint64_t n = 0;
      if (__builtin_add_overflow(a.as_unsigned(), b.as_unsigned(), &n))
        return value::error(memory, "unsigned integer overflow");
      return value::unsigned_integer(n);
    }
    default: {
      std::int64_t n = 0;
      if (__builtin_add_overflow(a.as_integer(), b.as_integer(), &n)) return value::error(memory, "integer overflow");
      return a.is(kind::integer) ? value::integer(n) : value::duration(n);
    }
  }
}

value sum_from(value sum, const value& list, cel::arena& memory) {
  for (std::size_t i = 0, n = *list.size(); i < n && !sum.is_error(); ++i) {
    const value v = list.at(i, memory);
    sum = v.kind() == sum.kind() ? added(sum, v, memory) : value::error(memory, "no such overload");
  }
  return sum;
}

value sum_of_integers(args a, cel::arena& memory) { return sum_from(value::integer(0), a[0], memory); }
value sum_of_unsigned(args a, cel::arena& memory) { return sum_from(value::unsigned_integer(0), a[0], memory); }
value sum_of_reals(args a, cel::arena& memory) { return sum_from(value::real(0), a[0], memory); }
value sum_of_durations(args a, cel::arena& memory) { return sum_from(value::duration(0), a[0], memory); }

value extreme(const value& list, int replaces, const char* name, cel::arena& memory) {
  value out;
  for (std::size_t i = 0, n = *list.size(); i < n; ++i) {
    const value v = list.at(i, memory);
    if (i == 0 || cel::compare(out, v) == replaces) out = v;
  }
  return out.is(kind::absent) ? value::error(memory, std::string(name) + " called on empty list") : out;
}

value smallest(args a, cel::arena& memory) { return extreme(a[0], 1, "min", memory); }
value largest(args a, cel::arena& memory) { return extreme(a[0], -1, "max", memory); }

value index_of(args a, cel::arena& memory) {
  for (std::size_t i = 0, n = *a[0].size(); i < n; ++i)
    if (cel::equal(a[0].at(i, memory), a[1], memory)) return value::integer(static_cast<std::int64_t>(i));
  return value::integer(-1);
}

value last_index_of(args a, cel::arena& memory) {
  for (std::size_t i = *a[0].size(); i > 0; --i)
    if (cel::equal(a[0].at(i - 1, memory), a[1], memory)) return value::integer(static_cast<std::int64_t>(i - 1));
  return value::integer(-1);
}

}  // namespace

void add_list_functions(cel::environment::builder& b) {
  using cel::type;
  struct named {
    const char* name;
    const type& of;
    cel::implementation sum = nullptr;
  };
  const named comparable[] = {{"int", type::integer(), sum_of_integers},
                              {"uint", type::unsigned_integer(), sum_of_unsigned},
                              {"double", type::real(), sum_of_reals},
                              {"bool", type::boolean()},
                              {"duration", type::duration(), sum_of_durations},
                              {"timestamp", type::timestamp()},
                              {"string", type::string()},
                              {"bytes", type::bytes()}};
  cel::function sorted{"isSorted"}, sum{"sum"}, max{"max"}, min{"min"};
  for (const named& n : comparable) {
    const std::string name = std::string("list_") + n.name;
    const type list = type::list(n.of);
    sorted.overloads.push_back(method(name + "_is_sorted_bool", {list}, type::boolean(), is_sorted));
    if (n.sum) sum.overloads.push_back(method(name + "_sum_" + n.name, {list}, n.of, n.sum));
    max.overloads.push_back(method(name + "_max_" + n.name, {list}, n.of, largest));
    min.overloads.push_back(method(name + "_min_" + n.name, {list}, n.of, smallest));
  }
  for (cel::function* f : {&sorted, &sum, &max, &min}) b.function(std::move(*f));
  const type a = type::parameter("A"), list = type::list(a);
  b.function({"indexOf", {method("list_a_index_of_int", {list, a}, type::integer(), index_of)}});
  b.function({"lastIndexOf", {method("list_a_last_index_of_int", {list, a}, type::integer(), last_index_of)}});
}

}  // namespace kedge::api::expressions
