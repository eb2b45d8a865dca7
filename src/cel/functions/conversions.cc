#include <cmath>
#include <cstdint>
#include <string>

#include "cel/functions/libraries.h"
#include "cel/functions/moments.h"
#include "cel/literals.h"
#include "cel/utf8.h"

namespace kedge::cel {

namespace {

using args = std::span<const value>;

value identity(args a, arena&) { return a[0]; }

value cannot_convert(const value& v, const type& to, arena& memory) {
  return value::error(memory, "type conversion error from '" + std::string(kind_text(v)) + "' to '" + to.name() + "'");
}

value made_text(std::string_view text, arena& memory) { return value::string(memory.copy(text)); }

value to_bool(args a, arena& memory) {
  auto b = parse_boolean(a[0].as_text());
  return b ? value::boolean(*b) : cannot_convert(a[0], type::boolean(), memory);
}

value to_bytes(args a, arena&) { return value::bytes(a[0].as_text()); }

value to_double(args a, arena& memory) {
  if (a[0].is(kind::integer)) return value::real(static_cast<double>(a[0].as_integer()));
  if (a[0].is(kind::unsigned_integer)) return value::real(static_cast<double>(a[0].as_unsigned()));
  auto d = parse_real(a[0].as_text());
  return d ? value::real(*d) : cannot_convert(a[0], type::real(), memory);
}

value to_duration(args a, arena& memory) {
  auto d = parse_go_duration(a[0].as_text());
  return d ? value::duration(*d) : cannot_convert(a[0], type::duration(), memory);
}

value to_int(args a, arena& memory) {
  switch (a[0].kind()) {
    case kind::real: {
      const double d = a[0].as_real();
      if (!std::isfinite(d) || d <= -9223372036854775808.0 || d >= 9223372036854775808.0)
        return value::error(memory, "integer overflow");
      return value::integer(static_cast<std::int64_t>(d));
    }
    case kind::duration: return value::integer(a[0].as_nanoseconds());
    case kind::timestamp: return value::integer(a[0].seconds());
    case kind::unsigned_integer:
      if (a[0].as_unsigned() > INT64_MAX) return value::error(memory, "integer overflow");
      return value::integer(static_cast<std::int64_t>(a[0].as_unsigned()));
    default: {
      auto n = parse_integer(a[0].as_text());
      return n ? value::integer(*n) : cannot_convert(a[0], type::integer(), memory);
    }
  }
}

value to_uint(args a, arena& memory) {
  switch (a[0].kind()) {
    case kind::real: {
      const double d = a[0].as_real();
      if (!std::isfinite(d) || d < 0 || d >= 18446744073709551616.0)
        return value::error(memory, "unsigned integer overflow");
      return value::unsigned_integer(static_cast<std::uint64_t>(d));
    }
    case kind::integer:
      if (a[0].as_integer() < 0) return value::error(memory, "unsigned integer overflow");
      return value::unsigned_integer(static_cast<std::uint64_t>(a[0].as_integer()));
    default: {
      auto n = parse_unsigned(a[0].as_text());
      return n ? value::unsigned_integer(*n) : cannot_convert(a[0], type::unsigned_integer(), memory);
    }
  }
}

value to_string(args a, arena& memory) {
  const value& v = a[0];
  switch (v.kind()) {
    case kind::bytes:
      if (!utf8_valid(v.as_text())) return value::error(memory, "invalid UTF-8 in bytes, cannot convert to string");
      return value::string(v.as_text());
    case kind::duration: return made_text(duration_text(v.as_nanoseconds()), memory);
    default: return made_text(text_of(v), memory);
  }
}

value to_timestamp(args a, arena& memory) {
  if (a[0].is(kind::integer)) return timestamp_in_range({.seconds = a[0].as_integer()}, memory);
  auto m = parse_timestamp(a[0].as_text());
  return m ? timestamp_in_range(*m, memory) : cannot_convert(a[0], type::timestamp(), memory);
}

value to_type(args a, arena&) { return value::type(a[0].runtime_type()); }

void name_type(environment::builder& b, const type& t) { b.constant(t.name(), type::type_of(t), value::type(t)); }

}  // namespace

void add_conversions(environment::builder& b) {
  const type a = type::parameter("A");
  const type &boolean = type::boolean(), &integer = type::integer(), &unsigned_integer = type::unsigned_integer(),
             &real = type::real(), &string = type::string(), &bytes = type::bytes(), &duration = type::duration(),
             &timestamp = type::timestamp();
  b.function({"type", {global("type", {a}, type::type_of(a))}, to_type});
  b.function({"dyn", {global("to_dyn", {a}, type::dyn())}, identity});
  b.function(
      {"bool",
       {global("bool_to_bool", {boolean}, boolean, identity), global("string_to_bool", {string}, boolean, to_bool)}});
  b.function(
      {"bytes",
       {global("bytes_to_bytes", {bytes}, bytes, identity), global("string_to_bytes", {string}, bytes, to_bytes)}});
  b.function(
      {"double",
       {global("double_to_double", {real}, real, identity), global("int64_to_double", {integer}, real, to_double),
        global("string_to_double", {string}, real, to_double),
        global("uint64_to_double", {unsigned_integer}, real, to_double)}});
  b.function({"duration",
              {global("duration_to_duration", {duration}, duration, identity),
               global("string_to_duration", {string}, duration, to_duration)}});
  b.function(
      {"int",
       {global("int64_to_int64", {integer}, integer, identity), global("double_to_int64", {real}, integer, to_int),
        global("duration_to_int64", {duration}, integer, to_int), global("string_to_int64", {string}, integer, to_int),
        global("timestamp_to_int64", {timestamp}, integer, to_int),
        global("uint64_to_int64", {unsigned_integer}, integer, to_int)}});
  b.function(
      {"string",
       {global("string_to_string", {string}, string, identity), global("bool_to_string", {boolean}, string, to_string),
        global("bytes_to_string", {bytes}, string, to_string), global("double_to_string", {real}, string, to_string),
        global("duration_to_string", {duration}, string, to_string),
        global("int64_to_string", {integer}, string, to_string),
        global("timestamp_to_string", {timestamp}, string, to_string),
        global("uint64_to_string", {unsigned_integer}, string, to_string)}});
  b.function({"timestamp",
              {global("timestamp_to_timestamp", {timestamp}, timestamp, identity),
               global("int64_to_timestamp", {integer}, timestamp, to_timestamp),
               global("string_to_timestamp", {string}, timestamp, to_timestamp)}});
  b.function({"uint",
              {global("uint64_to_uint64", {unsigned_integer}, unsigned_integer, identity),
               global("double_to_uint64", {real}, unsigned_integer, to_uint),
               global("int64_to_uint64", {integer}, unsigned_integer, to_uint),
               global("string_to_uint64", {string}, unsigned_integer, to_uint)}});
  // The types themselves live as long as the program.
  for (const type* t :
       {&boolean, &bytes, &real, &duration, &integer, &type::null(), &string, &timestamp, &unsigned_integer})
    name_type(b, *t);
  static const type list = type::list(a), map = type::map(a, type::parameter("B")),
                    type_type = type::type_of(type::dyn());
  b.constant("list", type::type_of(type::list(type::dyn())), value::type(list));
  b.constant("map", type::type_of(type::map(type::dyn(), type::dyn())), value::type(map));
  b.constant("type", type::type_of(type_type), value::type(type_type));
}

}  // namespace kedge::cel
