#include <cmath>

#include "api/expressions/libraries/libraries.h"
#include "schema/quantity.h"

namespace kedge::api::expressions {

const cel::type& quantity_type() {
  static const cel::type t = cel::type::object("kubernetes.Quantity");
  return t;
}

namespace {

using cel::value;
using schema::quantity;
using args = std::span<const value>;

value to_quantity(args a, cel::arena& memory) {
  auto q = quantity::parse(a[0].as_text());
  return q ? own(quantity_type(), *q, memory) : value::error(memory, q.error().message);
}

value is_quantity(args a, cel::arena&) { return value::boolean(quantity::parse(a[0].as_text()).has_value()); }

const quantity& of(const value& v) { return content_of<quantity>(v); }

int order(const quantity& a, const quantity& b) { return a < b ? -1 : a == b ? 0 : 1; }

value sign(args a, cel::arena&) { return value::integer(of(a[0]).sign()); }
value is_greater(args a, cel::arena&) { return value::boolean(order(of(a[0]), of(a[1])) > 0); }
value is_less(args a, cel::arena&) { return value::boolean(order(of(a[0]), of(a[1])) < 0); }
value compare_to(args a, cel::arena&) { return value::integer(order(of(a[0]), of(a[1]))); }
value as_float(args a, cel::arena&) { return value::real(of(a[0]).approximate()); }

value as_integer(args a, cel::arena& memory) {
  auto n = of(a[0]).exact_integer();
  return n ? value::integer(*n) : value::error(memory, "cannot convert value to integer");
}
value is_integer(args a, cel::arena&) { return value::boolean(of(a[0]).exact_integer().has_value()); }

quantity operand(const value& v) {
  return v.is(cel::kind::integer) ? quantity::of(v.as_integer(), quantity::format::decimal_exponent) : of(v);
}

value add(args a, cel::arena& memory) {
  quantity q = of(a[0]);
  q += operand(a[1]);
  return own(quantity_type(), q, memory);
}
value sub(args a, cel::arena& memory) {
  quantity q = of(a[0]);
  q -= operand(a[1]);
  return own(quantity_type(), q, memory);
}

}  // namespace

value quantity_value(const quantity& q, cel::arena& memory) { return own(quantity_type(), q, memory); }

void add_quantities(cel::environment::builder& b) {
  const cel::type &q = quantity_type(), &string = cel::type::string(), &boolean = cel::type::boolean(),
                  &integer = cel::type::integer();
  b.function({"quantity", {global("string_to_quantity", {string}, q, to_quantity)}});
  b.function({"isQuantity", {global("is_quantity_string", {string}, boolean, is_quantity)}});
  b.function({"sign", {global("quantity_sign", {q}, integer, sign)}});
  b.function({"isGreaterThan", {method("quantity_is_greater_than", {q, q}, boolean, is_greater)}});
  b.function({"isLessThan", {method("quantity_is_less_than", {q, q}, boolean, is_less)}});
  b.function({"compareTo", {method("quantity_compare_to", {q, q}, integer, compare_to)}});
  b.function({"asApproximateFloat", {method("quantity_get_float", {q}, cel::type::real(), as_float)}});
  b.function({"asInteger", {method("quantity_get_int", {q}, integer, as_integer)}});
  b.function({"isInteger", {method("quantity_is_integer", {q}, boolean, is_integer)}});
  b.function({"add", {method("quantity_add", {q, q}, q, add), method("quantity_add_int", {q, integer}, q, add)}});
  b.function({"sub", {method("quantity_sub", {q, q}, q, sub), method("quantity_sub_int", {q, integer}, q, sub)}});
}

}  // namespace kedge::api::expressions
