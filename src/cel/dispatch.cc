// Which overload takes the values that are there when it runs.
#include <string>

#include "cel/functions/libraries.h"

namespace kedge::cel {

namespace {

bool takes(const type& t, const value& v, arena& memory) {
  switch (t.kind()) {
    case type_kind::dyn:
    case type_kind::parameter: return true;
    case type_kind::null: return v.is(kind::null);
    case type_kind::boolean: return v.is(kind::boolean);
    case type_kind::integer: return v.is(kind::integer);
    case type_kind::unsigned_integer: return v.is(kind::unsigned_integer);
    case type_kind::real: return v.is(kind::real);
    case type_kind::string: return v.is(kind::string);
    case type_kind::bytes: return v.is(kind::bytes);
    case type_kind::duration: return v.is(kind::duration);
    case type_kind::timestamp: return v.is(kind::timestamp);
    case type_kind::type: return v.is(kind::type);
    case type_kind::list:
      // The first element stands for all of them.
      return v.is(kind::list) && (*v.size() == 0 || takes(t.parameters()[0], v.at(0, memory), memory));
    case type_kind::map:
      return v.is(kind::map) && (*v.size() == 0 || (takes(t.parameters()[0], v.key_at(0, memory), memory) &&
                                                    takes(t.parameters()[1], v.value_at(0, memory), memory)));
    case type_kind::opaque:
      if (t.is_optional()) return v.is(kind::optional);
      [[fallthrough]];
    case type_kind::object: return v.is(kind::opaque) && v.as_opaque().type().name() == t.name();
    case type_kind::error: return false;
  }
  return false;
}

bool takes_all(const overload& o, std::span<const value> arguments, arena& memory) {
  if (o.arguments.size() != arguments.size()) return false;
  for (std::size_t i = 0; i < arguments.size(); ++i)
    if (!takes(o.arguments[i], arguments[i], memory)) return false;
  return true;
}

}  // namespace

value call_function(const function& f, std::span<const overload* const> chosen, std::span<const value> arguments,
                    arena& memory) {
  if (f.any) return f.any(arguments, memory);
  if (chosen.size() == 1) {
    if (chosen[0]->run && takes_all(*chosen[0], arguments, memory)) return chosen[0]->run(arguments, memory);
  } else {
    for (const overload& o : f.overloads)
      if (o.run && takes_all(o, arguments, memory)) return o.run(arguments, memory);
  }
  std::string message = "no such overload: " + f.name + "(";
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (i > 0) message += ", ";
    message += kind_text(arguments[i]);
  }
  return value::error(memory, message + ")");
}

}  // namespace kedge::cel
