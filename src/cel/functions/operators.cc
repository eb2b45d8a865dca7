// Arithmetic, and what operators do with lists and maps. Comparisons and logic are steps of their own (run.cc).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "cel/functions/libraries.h"
#include "cel/functions/moments.h"

namespace kedge::cel {

value no_such_overload(arena& memory) { return value::error(memory, "no such overload"); }
value no_such_overload(std::string_view function, const value& first, arena& memory) {
  if (first.is(kind::string) || first.is(kind::duration) || first.is(kind::timestamp)) return no_such_overload(memory);
  return value::error(memory, "no such overload: " + std::string(function));
}

void map_maker::add(const value& key, const value& v) {
  const value there = places_.find(key, memory_);
  if (there.is(kind::integer)) {
    entries_[static_cast<std::size_t>(there.as_integer())].second = v;
    return;
  }
  value more = places_.with(key, value::integer(static_cast<std::int64_t>(entries_.size())), memory_);
  if (more.is_error()) return;  // the arena is full, which ends the evaluation
  places_ = more;
  entries_.emplace_back(key, v);
}

namespace {

using args = std::span<const value>;

value overflow(arena& memory, const value& v) {
  return value::error(memory, v.is(kind::unsigned_integer) ? "unsigned integer overflow" : "integer overflow");
}

value concatenated(const value& a, const value& b, arena& memory) {
  const std::size_t size = a.as_text().size() + b.as_text().size();
  if (!memory.has_room(size)) return too_large(memory);
  char* to = memory.space<char>(size);
  std::ranges::copy(b.as_text(), std::ranges::copy(a.as_text(), to).out);
  return a.is(kind::string) ? value::string({to, size}) : value::bytes({to, size});
}

// Sets and lists with keys of a schema take in what they don't have yet.
value merged(const value& a, const value& b, const shape& s, arena& memory) {
  const auto key_of = [&](const value& element) {
    if (s.list == shape::list_kind::set || !element.is(kind::map)) return element;
    std::vector<value> keys;
    for (const std::string& name : s.keys) keys.push_back(element.find(std::string_view(name), memory));
    return value::list(memory, keys);
  };
  map_maker places(memory);
  std::vector<value> items;
  for (std::size_t i = 0, n = *a.size(); i < n; ++i) {
    items.push_back(a.at(i, memory));
    places.add(key_of(items.back()), value::integer(static_cast<std::int64_t>(i)));
  }
  value positions = places.done();
  for (std::size_t i = 0, n = *b.size(); i < n && !positions.is_error(); ++i) {
    const value element = b.at(i, memory);
    const value key = key_of(element);
    const value there = positions.find(key, memory);
    if (there.is(kind::integer)) {
      items[static_cast<std::size_t>(there.as_integer())] = element;
      continue;
    }
    positions = positions.with(key, value::integer(static_cast<std::int64_t>(items.size())), memory);
    items.push_back(element);
  }
  return positions.is_error() ? positions : value::list(memory, items);
}

value joined(const value& a, const value& b, arena& memory) {
  if (const shape* s = a.shape(); s && s->list != shape::list_kind::atomic) return merged(a, b, *s, memory);
  const std::size_t n = *a.size(), m = *b.size();
  if (m == 1) return a.with(b.at(0, memory), memory);  // as folds add
  if (m == 0) return a;
  if (!memory.has_room((n + m) * sizeof(value))) return too_large(memory);
  std::vector<value> items;
  items.reserve(n + m);
  for (std::size_t i = 0; i < n; ++i) items.push_back(a.at(i, memory));
  for (std::size_t i = 0; i < m; ++i) items.push_back(b.at(i, memory));
  return value::list(memory, items);
}

value add(args a, arena& memory) {
  const value &x = a[0], &y = a[1];
  const bool same = x.kind() == y.kind();
  switch (x.kind()) {
    case kind::integer:
    case kind::duration: {
      if (x.is(kind::duration) && y.is(kind::timestamp)) return add_to_timestamp(y, x.as_nanoseconds(), memory);
      std::int64_t n = 0;
      if (!same) return no_such_overload(memory);
      if (__builtin_add_overflow(x.as_integer(), y.as_integer(), &n)) return overflow(memory, x);
      return x.is(kind::integer) ? value::integer(n) : value::duration(n);
    }
    case kind::unsigned_integer: {
      std::uint64_t n = 0;
      if (!same) return no_such_overload(memory);
      return __builtin_add_overflow(x.as_unsigned(), y.as_unsigned(), &n) ? overflow(memory, x)
                                                                          : value::unsigned_integer(n);
    }
    case kind::real: return same ? value::real(x.as_real() + y.as_real()) : no_such_overload(memory);
    case kind::string:
    case kind::bytes: return same ? concatenated(x, y, memory) : no_such_overload(memory);
    case kind::list: return same ? joined(x, y, memory) : no_such_overload(memory);
    case kind::timestamp:
      return y.is(kind::duration) ? add_to_timestamp(x, y.as_nanoseconds(), memory) : no_such_overload(memory);
    default: return no_such_overload("_+_", a[0], memory);
  }
}

value subtract(args a, arena& memory) {
  const value &x = a[0], &y = a[1];
  const bool same = x.kind() == y.kind();
  switch (x.kind()) {
    case kind::integer:
    case kind::duration: {
      std::int64_t n = 0;
      if (!same) return no_such_overload(memory);
      if (__builtin_sub_overflow(x.as_integer(), y.as_integer(), &n)) return overflow(memory, x);
      return x.is(kind::integer) ? value::integer(n) : value::duration(n);
    }
    case kind::unsigned_integer:
      if (!same) return no_such_overload(memory);
      return y.as_unsigned() > x.as_unsigned() ? overflow(memory, x)
                                               : value::unsigned_integer(x.as_unsigned() - y.as_unsigned());
    case kind::real: return same ? value::real(x.as_real() - y.as_real()) : no_such_overload(memory);
    case kind::timestamp:
      if (same) return between_timestamps(x, y, memory);
      if (!y.is(kind::duration)) return no_such_overload(memory);
      if (y.as_nanoseconds() == INT64_MIN) return overflow(memory, y);
      return add_to_timestamp(x, -y.as_nanoseconds(), memory);
    default: return no_such_overload("_-_", a[0], memory);
  }
}

value multiply(args a, arena& memory) {
  const value &x = a[0], &y = a[1];
  const bool number = x.is(kind::integer) || x.is(kind::unsigned_integer) || x.is(kind::real);
  if (!number) return no_such_overload("_*_", a[0], memory);
  if (x.kind() != y.kind()) return no_such_overload(memory);
  if (x.is(kind::real)) return value::real(x.as_real() * y.as_real());
  if (x.is(kind::integer)) {
    std::int64_t n = 0;
    return __builtin_mul_overflow(x.as_integer(), y.as_integer(), &n) ? overflow(memory, x) : value::integer(n);
  }
  std::uint64_t n = 0;
  return __builtin_mul_overflow(x.as_unsigned(), y.as_unsigned(), &n) ? overflow(memory, x)
                                                                      : value::unsigned_integer(n);
}

value divide(args a, arena& memory) {
  const value &x = a[0], &y = a[1];
  const bool number = x.is(kind::integer) || x.is(kind::unsigned_integer) || x.is(kind::real);
  if (!number) return no_such_overload("_/_", a[0], memory);
  if (x.kind() != y.kind()) return no_such_overload(memory);
  if (x.is(kind::real)) return value::real(x.as_real() / y.as_real());
  if (y.as_unsigned() == 0) return value::error(memory, "division by zero");
  if (x.is(kind::unsigned_integer)) return value::unsigned_integer(x.as_unsigned() / y.as_unsigned());
  if (x.as_integer() == INT64_MIN && y.as_integer() == -1) return overflow(memory, x);
  return value::integer(x.as_integer() / y.as_integer());
}

value modulo(args a, arena& memory) {
  const value &x = a[0], &y = a[1];
  if (!x.is(kind::integer) && !x.is(kind::unsigned_integer)) return no_such_overload("_%_", a[0], memory);
  if (x.kind() != y.kind()) return no_such_overload(memory);
  if (y.as_unsigned() == 0) return value::error(memory, "modulus by zero");
  if (x.is(kind::unsigned_integer)) return value::unsigned_integer(x.as_unsigned() % y.as_unsigned());
  if (x.as_integer() == INT64_MIN && y.as_integer() == -1) return overflow(memory, x);
  return value::integer(x.as_integer() % y.as_integer());
}

value negate(args a, arena& memory) {
  if (a[0].is(kind::real)) return value::real(-a[0].as_real());
  if (!a[0].is(kind::integer) && !a[0].is(kind::duration))
    return a[0].is(kind::boolean) ? no_such_overload(memory) : no_such_overload("-_", a[0], memory);
  if (a[0].as_integer() == INT64_MIN) return overflow(memory, a[0]);
  return a[0].is(kind::integer) ? value::integer(-a[0].as_integer()) : value::duration(-a[0].as_integer());
}

value logical_not(args a, arena& memory) {
  return a[0].is(kind::boolean) ? value::boolean(!a[0].as_bool()) : no_such_overload(memory);
}

value in(args a, arena& memory) {
  if (a[1].is(kind::list)) {
    for (std::size_t i = 0, n = *a[1].size(); i < n; ++i)
      if (equal(a[0], a[1].at(i, memory), memory)) return value::boolean(true);
    return value::boolean(false);
  }
  if (a[1].is(kind::map)) return value::boolean(!a[1].find(a[0], memory).is(kind::absent));
  return no_such_overload(memory);
}

// Overloads of an ordering, of all kinds that can be ordered.
std::vector<overload> orderings(const std::string& name) {
  const type &boolean = type::boolean(), &integer = type::integer(), &unsigned_integer = type::unsigned_integer(),
             &real = type::real();
  const auto one = [&](const char* suffix, const type& a, const type& b) {
    return global(name + "_" + suffix, {a, b}, boolean);
  };
  return {one("bool", boolean, boolean),
          one("int64", integer, integer),
          one("int64_double", integer, real),
          one("int64_uint64", integer, unsigned_integer),
          one("uint64", unsigned_integer, unsigned_integer),
          one("uint64_double", unsigned_integer, real),
          one("uint64_int64", unsigned_integer, integer),
          one("double", real, real),
          one("double_int64", real, integer),
          one("double_uint64", real, unsigned_integer),
          one("string", type::string(), type::string()),
          one("bytes", type::bytes(), type::bytes()),
          one("timestamp", type::timestamp(), type::timestamp()),
          one("duration", type::duration(), type::duration())};
}

}  // namespace

// Cold: a long list, once in a process.
[[gnu::cold]] void add_operators(environment::builder& b) {
  const type a = type::parameter("A"), other = type::parameter("B");
  const type list = type::list(a), map = type::map(a, other);
  const type &boolean = type::boolean(), &integer = type::integer(), &unsigned_integer = type::unsigned_integer(),
             &real = type::real(), &duration = type::duration(), &timestamp = type::timestamp();
  b.function({"_?_:_", {global("conditional", {boolean, a, a}, a)}});
  b.function({"_&&_", {global("logical_and", {boolean, boolean}, boolean)}});
  b.function({"_||_", {global("logical_or", {boolean, boolean}, boolean)}});
  b.function({"!_", {global("logical_not", {boolean}, boolean)}, logical_not});
  b.function({"@not_strictly_false", {global("not_strictly_false", {boolean}, boolean)}});
  b.function({"_==_", {global("equals", {a, a}, boolean)}});
  b.function({"_!=_", {global("not_equals", {a, a}, boolean)}});
  b.function({"_<_", orderings("less")});
  b.function({"_<=_", orderings("less_equals")});
  b.function({"_>_", orderings("greater")});
  b.function({"_>=_", orderings("greater_equals")});
  b.function(
      {"_+_",
       {global("add_bytes", {type::bytes(), type::bytes()}, type::bytes()), global("add_double", {real, real}, real),
        global("add_duration_duration", {duration, duration}, duration),
        global("add_duration_timestamp", {duration, timestamp}, timestamp),
        global("add_timestamp_duration", {timestamp, duration}, timestamp),
        global("add_int64", {integer, integer}, integer), global("add_list", {list, list}, list),
        global("add_string", {type::string(), type::string()}, type::string()),
        global("add_uint64", {unsigned_integer, unsigned_integer}, unsigned_integer)},
       add});
  b.function({"_/_",
              {global("divide_double", {real, real}, real), global("divide_int64", {integer, integer}, integer),
               global("divide_uint64", {unsigned_integer, unsigned_integer}, unsigned_integer)},
              divide});
  b.function({"_%_",
              {global("modulo_int64", {integer, integer}, integer),
               global("modulo_uint64", {unsigned_integer, unsigned_integer}, unsigned_integer)},
              modulo});
  b.function({"_*_",
              {global("multiply_double", {real, real}, real), global("multiply_int64", {integer, integer}, integer),
               global("multiply_uint64", {unsigned_integer, unsigned_integer}, unsigned_integer)},
              multiply});
  b.function({"-_", {global("negate_double", {real}, real), global("negate_int64", {integer}, integer)}, negate});
  b.function({"_-_",
              {global("subtract_double", {real, real}, real),
               global("subtract_duration_duration", {duration, duration}, duration),
               global("subtract_int64", {integer, integer}, integer),
               global("subtract_timestamp_duration", {timestamp, duration}, timestamp),
               global("subtract_timestamp_timestamp", {timestamp, timestamp}, duration),
               global("subtract_uint64", {unsigned_integer, unsigned_integer}, unsigned_integer)},
              subtract});
  b.function({"_[_]", {global("index_list", {list, integer}, a), global("index_map", {map, a}, other)}});
  b.function({"@in", {global("in_list", {a, list}, boolean), global("in_map", {a, map}, boolean)}, in});
}

}  // namespace kedge::cel
